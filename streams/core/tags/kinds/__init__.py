"""The kinds of tags, a pair of files each: how its cell lives, and (``_spec``) what it is."""

from streams.compiled import use

use(__path__, __name__)
