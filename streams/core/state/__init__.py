"""One user's state: what it holds, and how it is packed."""

from streams.compiled import use

use(__path__, __name__)
