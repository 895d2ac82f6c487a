"""Problems with tests: the starter set, published benchmarks and the user's own files."""

from restrl.data.registry import LOADERS as LOADERS
from restrl.data.registry import load_problems as load_problems
