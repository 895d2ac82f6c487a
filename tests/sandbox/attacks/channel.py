"""A forged result is written where the harness reads."""
# ruff: noqa: E501  (programs in strings)

_ZERO = "\ndef f(x):\n    return 0\n"
_SEND = (
    "import os, sys\ncodec = sys.modules['inside.wire.codec']\nfor m in {messages}:\n    d = codec.encode(m)\n"
    "    os.write(3, len(d).to_bytes(4, 'big') + d)"
)
_ALL = "for fd in range(0, 64):\n    try: os.write(fd, {data})\n    except OSError: pass"

ATTACKS = {
    "passed on every descriptor": "import os\n" + _ALL.format(data="b'passed\\n'") + _ZERO,
    "json on every descriptor": "import os\n" + _ALL.format(data="b'{\"passed\": 3, \"total\": 3}'") + _ZERO,
    "frame of true values": "import os\nd = b't\\x00\\x00\\x00\\x03s\\x00\\x00\\x00\\x05valueTN'\n"
    "d = len(d).to_bytes(4, 'big') + d\n" + _ALL.format(data="d * 9") + _ZERO,
    "claims that the harness failed": _SEND.format(messages="[('harness', 'OSError: too busy')]") + _ZERO,
    "messages that stand elsewhere": _SEND.format(messages="[('loaded', ['f'])] * 5") + _ZERO,
    "output for a call": _SEND.format(messages="[('output', b'11', 0, b'')] * 5") + _ZERO,
    "messages of a wrong length": _SEND.format(messages="[('loaded', ['f']), ('value',), ('raise',)]") + _ZERO,
    "words that are no words": _SEND.format(messages="[('loaded', ['f']), ([],), (1, 2, 3), {}]") + _ZERO,
    "huge frame": "import os\n" + _ALL.format(data="b'\\xff\\xff\\xff\\xff' * 100") + _ZERO,
    "zero frames": "import os\n" + _ALL.format(data="b'\\0' * 4096") + _ZERO,
    "random bytes": "import os\n" + _ALL.format(data="os.urandom(4096)") + _ZERO,
    "closes the channel": "import os\nos.closerange(0, 256)" + _ZERO,
    "reads the channel": "import os\ntry:\n    os.read(3, 65536)\nexcept OSError: pass" + _ZERO,
    "a thread that writes late": "import os, threading, time\ndef late():\n    time.sleep(0.05)\n    "
    + _ALL.format(data="b'\\0\\0\\0\\1T'").replace("\n", "\n    ")
    + "\nthreading.Thread(target=late).start()" + _ZERO,
    "a child that writes late": "import os, time\nif os.fork() == 0:\n    time.sleep(0.05)\n    "
    + _ALL.format(data="b'\\0\\0\\0\\1T'").replace("\n", "\n    ") + "\n    os._exit(0)" + _ZERO,
    "markers on standard output": "print('passed'); print('OK'); print('Ran 3 tests in 0.001s\\n\\nOK')" + _ZERO,
    "exit handler that writes": "import atexit, os\natexit.register(lambda: os.write(1, b'passed'))" + _ZERO,
    "endless frames": "import os\ndef f(x):\n    while True: os.write(3, b'\\0\\0\\0\\1N' * 1000)\n",
    "another descriptor passed over": "import socket, array, os\ntry:\n    s = socket.socket(fileno=3)\n"
    "    s.sendmsg([b'x'], [(1, 1, array.array('i', [0]))])\nexcept OSError: pass" + _ZERO,
}  # fmt: skip
