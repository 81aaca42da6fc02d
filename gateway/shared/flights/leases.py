"""Who generates: one replica at a time holds the lease of a flight. Three scripts on one key; decided inside Redis.

    claim    free, or its holder was silent for too long: it is ours, under a token larger than every one before
             held: by whom, and how long that may last
             ended: it is over, but it went on when our request came: who has it still tells us what was said
    renew    it is still ours
    end      over: its answer may be kept if, and only if, the lease is still ours. A holder that was away for too long
             hears a no here (fencing), and what it made is not stored over what its successor made

Times are the server's, and what is told to it is how long ago something was, so no two clocks are compared. Another
server may have written them, before a failover, or a stranger: no lease is believed to last longer than a lease from
now, nor to have ended in the future. A key outlives its lease, for the token in it; the token also follows the server's
clock, for when the key is gone.
"""

from dataclasses import dataclass
from typing import Final

KEEP_MS: Final = 60_000  # a key after its last use: far longer than any lease
LATECOMERS_MS: Final = 1_000  # how long a leader can tell of a flight that has ended

# token     of whoever holds it, or held it last
# owner     the replica
# until     when it lapses, by the server's clock
# ended     when it ended with an answer; absent while it goes on, and when it was given up
_NOW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
"""

CLAIM: Final = (
    _NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'token', 'owner', 'until', 'ended')
local token, lapses, ended = tonumber(held[1]) or 0, tonumber(held[3]) or 0, tonumber(held[4])
local longest = now + tonumber(ARGV[2])
if not held[2] or token ~= math.floor(token) or token < 1 or token > 2^53 then
  token, lapses, ended = 0, 0, nil
end
if lapses > longest then
  lapses = longest
  redis.call('HSET', KEYS[1], 'until', lapses)
end
local came = now - math.min(tonumber(ARGV[3]), tonumber(ARGV[5]))
if ended and came <= ended and ended <= now and now - ended < tonumber(ARGV[5]) then
  return {0, string.format('%.0f', token), held[2], 0}
end
if not ended and now < lapses then
  return {0, string.format('%.0f', token), held[2], lapses - now}
end
local fresh = string.format('%.0f', math.max(token + 1, now * 1000))
redis.call('HDEL', KEYS[1], 'ended')
redis.call('HSET', KEYS[1], 'token', fresh, 'owner', ARGV[1], 'until', now + tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {1, fresh, ARGV[1], tonumber(ARGV[2])}
"""
)

RENEW: Final = (
    _NOW
    + """
local token = redis.call('HGET', KEYS[1], 'token')
if token and token ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'owner', ARGV[2], 'until', now + tonumber(ARGV[3]))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""
)

END: Final = (
    _NOW
    + """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'until', 0)
if ARGV[2] == '1' then redis.call('HSET', KEYS[1], 'ended', now) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
)


@dataclass(frozen=True, slots=True)
class Lead:
    """The generation is ours to make. Token 0: nobody could be asked, so others may be making it, too."""

    token: int


@dataclass(frozen=True, slots=True)
class Follow:
    """Another replica makes it, or has just made it."""

    token: int
    owner: str
    lapses_s: float  # when it is worth asking again, if nothing is heard


Claim = Lead | Follow


def claim_args(replica: str, lease_s: float, waited_s: float) -> list[str | int]:
    """What `CLAIM` is told by a request that came `waited_s` ago."""
    return [replica, int(lease_s * 1000), int(waited_s * 1000), KEEP_MS, LATECOMERS_MS]


def read_claim(reply: list[bytes | int]) -> Claim:
    """What `CLAIM` said."""
    is_ours, token, owner, lapses_ms = reply
    if is_ours:
        return Lead(int(token))
    return Follow(int(token), bytes(owner).decode() if isinstance(owner, bytes) else str(owner), int(lapses_ms) / 1000)


def renew_args(replica: str, token: int, lease_s: float) -> list[str | int]:
    """What `RENEW` is told. Where the server forgot the lease, the holder has it again."""
    return [token, replica, int(lease_s * 1000), KEEP_MS]


def end_args(token: int, *, has_answer: bool) -> list[str | int]:
    """What `END` is told: without an answer, whoever asks next leads at once."""
    return [token, int(has_answer), KEEP_MS]
