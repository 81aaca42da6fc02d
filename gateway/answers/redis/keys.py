"""The names of everything in Redis, and who may have written it.

    twicetold:<8 hex>:feed           one stream: what was put, changed and removed, for the memories of all gateways
    twicetold:<8 hex>:removals       one stream: the last removals and what they select (`removals.py`)
    twicetold:<8 hex>:{k}:...        shelf k of 16: the braces are a cluster's hash tag, so a shelf lies on one node
      :c   hash    member -> card    what is known of an entry but its request and answer (`card.py`)
      :i   hash    id -> members     an entry by its public name; several scopes may use one name
      :o   zset    by time made      to go through a shelf in order
      :p   zset    by priority       what goes first when the budget is full; :p:<tenant> where tenants are bounded
      :e   zset    by time ended     of what ends
      :s   hash    bytes, floor ..   of the shelf; "bytes" and "bytes:<tenant>" are sums, "removed" the last removal
      :a:<member>  string            request and answer; Redis ends it, too, a while after the entry's end
      :v:<member>  string            embedder and vector
      :w:<member>  hash              source -> verdict
      :r:<id>@..   set               members that are aliases of this entry
      :l:<member>, :l:<id>@..        an alias lies on the shelf of what it names; here is said which that is

The eight digits are a keyed digest of the secret: deployments with other secrets never meet. A member is a keyed
digest of (scope, exact). The shelf of an entry follows from its name, and `gateway.identity.canonical` makes the name
from the exact fingerprint: whoever knows either knows the shelf. What came by another name (an import) is looked for
on all.
"""

from hashlib import blake2b
from hmac import compare_digest
from zlib import crc32

from gateway.identity.canonical import entry_id_of

SHELVES = 16
MEMBER_BYTES = 16
MAC_BYTES = 16


def key_prefix(secret: bytes) -> bytes:
    """What every key of this deployment begins with."""
    return b"twicetold:" + blake2b(key=secret, digest_size=4, person=b"redis names").hexdigest().encode()


class Names:
    """Names and marks under one secret. Pure."""

    def __init__(self, secret: bytes) -> None:
        self.prefix = key_prefix(secret)
        self.feed = self.prefix + b":feed"
        self._secret = secret
        self._member_key = blake2b(key=secret, digest_size=32, person=b"redis member").digest()
        self._mac_key = blake2b(key=secret, digest_size=32, person=b"redis mac").digest()

    def name(self, *parts: str | bytes) -> bytes:
        """A key of this deployment outside the shelves: `name("lease", "{tag}", ...)`."""
        return b":".join((self.prefix, *(part.encode() if isinstance(part, str) else part for part in parts)))

    def shelf(self, number: int) -> bytes:
        """What the keys of a shelf begin with."""
        return b"%s:{%d}" % (self.prefix, number)

    def keys_of(self, number: int) -> tuple[bytes, ...]:
        """What a script on a shelf names: while a cluster moves the shelf, all of it must lie on one node."""
        shelf = self.shelf(number)
        return tuple(shelf + name for name in (b":c", b":i", b":o", b":p", b":s"))

    def shelf_of_id(self, entry_id: str) -> int:
        """Where an entry of this name lies, if its name was made from its fingerprint."""
        return crc32(entry_id.encode("utf-8", "surrogatepass")) % SHELVES

    def shelf_of(self, exact: bytes) -> int:
        """Where an entry of this fingerprint lies."""
        return self.shelf_of_id(self.id_of(exact))

    def id_of(self, exact: bytes) -> str:
        """The name that an entry of this fingerprint usually has."""
        return entry_id_of(self._secret, exact)

    def member(self, scope: bytes, exact: bytes) -> bytes:
        """An entry's short name inside a shelf."""
        return blake2b(scope + exact, key=self._member_key, digest_size=MEMBER_BYTES).digest()

    def alias_key(self, scope: bytes, entry_id: str) -> bytes:
        """What stands for (scope, id) in the name of a key."""
        raw = entry_id.encode("utf-8", "surrogatepass") + b"@"
        return raw + blake2b(scope, key=self._member_key, digest_size=8).digest()

    def mac(self, kind: bytes, *parts: bytes) -> bytes:
        """A mark that only this deployment can make; `kind` keeps marks of one thing from being used on another."""
        mark = blake2b(key=self._mac_key, digest_size=MAC_BYTES, person=kind)
        for part in parts:
            mark.update(len(part).to_bytes(8, "little"))
            mark.update(part)
        return mark.digest()

    def is_ours(self, mark: bytes, kind: bytes, *parts: bytes) -> bool:
        """Whether `mac` made this mark of these parts."""
        return compare_digest(mark, self.mac(kind, *parts))
