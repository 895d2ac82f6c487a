"""Values that lie when they are compared."""
# ruff: noqa: E501  (programs in strings)

_YES = "    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
_MORE = "    def __hash__(self): return 18\n    __lt__ = __le__ = __gt__ = __ge__ = __eq__\n"


def _subclass(base: str, value: str = "") -> str:
    return f"class E({base}):\n{_YES}{_MORE}def f(x):\n    return E({value})\n"


ATTACKS = {
    "int subclass": _subclass("int", "0"),
    "float subclass": _subclass("float", "0.5"),
    "str subclass": _subclass("str", "'18'"),
    "list subclass": _subclass("list"),
    "dict subclass": _subclass("dict"),
    "tuple subclass": _subclass("tuple"),
    "bytes subclass": _subclass("bytes"),
    "object": _subclass("object"),
    "metaclass": "class M(type):\n" + _YES + _MORE + "class E(metaclass=M): pass\ndef f(x):\n    return E\n",
    "Decimal subclass": "import decimal\n" + _subclass("decimal.Decimal", "0"),
    "int subclass with an index": "class E(int):\n    def __index__(self): return 18\n" + _YES + _MORE
    + "    def __int__(self): return 18\n    def __add__(self, o): return 18\ndef f(x):\n    return E(0)\n",
    "claims to be an int": "class E:\n" + _YES + _MORE + "    __class__ = int\ndef f(x):\n    return E()\n",
    "unittest.mock.ANY": "from unittest.mock import ANY\ndef f(x):\n    return ANY\n",
    "MagicMock": "from unittest.mock import MagicMock\nm = MagicMock()\nm.__eq__.return_value = True\n"
    "def f(x):\n    return m\n",
    "nan": "def f(x):\n    return float('nan')\n",
    "infinity": "def f(x):\n    return float('inf')\n",
    "the right value as a float": "def f(x):\n    return str(x * x) + '7'\n",
    "True": "def f(x):\n    return True\n",
    "None": "def f(x):\n    return None\n",
    "NotImplemented": "def f(x):\n    return NotImplemented\n",
    "rounded": "def f(x):\n    return x * x + 7 - 1e-3\n",
    "list of all answers": "def f(x):\n    return list(range(1000))\n",
    "order does not matter": "def f(x):\n    return set(range(1000))\n",
    "the function itself": "def f(x):\n    return f\n",
    "generator": "def f(x):\n    yield 18\n",
    "numpy array that is equal to something": "import numpy\ndef f(x):\n    return numpy.arange(1000)\n",
    "numpy subclass": "import numpy\nclass E(numpy.ndarray):\n" + _YES + "def f(x):\n"
    "    return numpy.zeros(3).view(E)\n",
    "cyclic list": "def f(x):\n    a = []\n    a.append(a)\n    return a\n",
    "deep list": "def f(x):\n    a = []\n    for _ in range(100000):\n        a = [a]\n    return a\n",
    "integer too long to print": "def f(x):\n    return 10 ** 100000\n",
    "shared object of exponential size": "def f(x):\n    a = []\n    for _ in range(40):\n        a = [a, a]\n"
    "    return a\n",
    "argument changed to match": "def f(x):\n    global g\n    g = x\n    return x\n",
}  # fmt: skip
