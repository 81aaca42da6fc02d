"""What has to happen at once, in Lua. Every script names a shelf (`keys.py`) and touches nothing else; on a server that
is no cluster it also writes what it did to the feed, so that no crash comes between. A script that names all that the
shelf always has is put off by a cluster that is moving the shelf, and never sees half of it.

ARGV begins with the feed ("" in a cluster: the caller appends the events that come back) and who we are. What is not
here but known to lie on another shelf is answered with {"link", number}. Events are {kind, scope, compat, exact, id}.
A card's numbers are those of `card.py`.
"""

from gateway.answers.redis.connection import Script

FEED_EVENTS = 100_000  # that the stream keeps, about: who missed more reads everything anew

_COMMON = (
    """
local S, FEED, ME = string.sub(KEYS[1], 1, -3), ARGV[1], ARGV[2]
local C, I, O, P, E, T = S .. ':c', S .. ':i', S .. ':o', S .. ':p', S .. ':e', S .. ':s'
local NUMBERS = '<dddI4I4I4I4I4c8I2c0I2c0I2c0I2c0'
local NO_VECTOR = 4294967295
local events = {}
local call = redis.call

local function a(m) return S .. ':a:' .. m end
local function v(m) return S .. ':v:' .. m end
local function w(m) return S .. ':w:' .. m end
local function others(id, scope) return S .. ':r:' .. id .. '@' .. scope end
local function link(name) return S .. ':l:' .. name end

local function parse(raw)
  local o, at = {}, nil
  o.made, o.ends, o.worth, o.size, o.hits, o.good, o.bad, o.vec, o.endmark, o.id, o.tenant, o.alias, o.embedder, at =
    struct.unpack(NUMBERS, raw)
  o.fixed = string.sub(raw, at)
  o.scope = string.sub(o.fixed, 17, 48)
  return o
end

local function spelled(o)
  return struct.pack(NUMBERS, o.made, o.ends, o.worth, o.size, o.hits, o.good, o.bad, o.vec, o.endmark, #o.id, o.id,
    #o.tenant, o.tenant, #o.alias, o.alias, #o.embedder, o.embedder) .. o.fixed
end

local function tell(kind, o)
  local event = {kind, o.scope, string.sub(o.fixed, 81, 112), string.sub(o.fixed, 49, 80), o.id}
  events[#events + 1] = event
  if FEED ~= '' then
    call('XADD', FEED, 'MAXLEN', '~', """
    + str(FEED_EVENTS)
    + """, '*', 'k', kind, 'r', ME, 's', event[2], 'c', event[3], 'x', event[4], 'i', event[5])
  end
end

local function card(m)
  local raw = call('HGET', C, m)
  return raw and parse(raw) or nil
end

local function members(id)
  local raw, found = call('HGET', I, id) or '', {}
  for at = 1, #raw, 16 do found[#found + 1] = string.sub(raw, at, at + 15) end
  return found
end

local function find(scope, id)
  for _, m in ipairs(members(id)) do
    local o = card(m)
    if o and o.scope == scope then return m, o end
  end
end

local function elsewhere(name)
  local there = call('GET', link(name))
  return there and {'link', tonumber(there)} or false
end

local function unname(id, m)
  local left = {}
  for _, other in ipairs(members(id)) do if other ~= m then left[#left + 1] = other end end
  if #left == 0 then call('HDEL', I, id) else call('HSET', I, id, table.concat(left)) end
end

local function weigh(tenant, more)
  local text = string.format('%d', more)
  call('HINCRBY', T, 'bytes', text)
  if call('HINCRBY', T, 'bytes:' .. tenant, text) <= 0 then call('HDEL', T, 'bytes:' .. tenant) end
end

local function take_out(m, o)
  call('HDEL', C, m)
  call('ZREM', O, m)
  call('ZREM', P, m)
  call('ZREM', E, m)
  call('ZREM', P .. ':' .. o.tenant, m)
  call('UNLINK', a(m), v(m))
  unname(o.id, m)
  if o.alias ~= '' then call('SREM', others(o.alias, o.scope), m) end
  weigh(o.tenant, -o.size)
end

local function drop(m, kind)
  local o = card(m)
  if not o then return false end
  take_out(m, o)
  call('UNLINK', w(m))
  if kind ~= '' then tell(kind, o) end
  return true
end

local function drop_others(id, scope)
  for _, m in ipairs(call('SMEMBERS', others(id, scope))) do drop(m, 'gone') end
end

local function first(policy, floor, now, uses, worth, draw)
  if policy == 'cost' then return floor + math.min(uses, 100) * worth * (uses > 1 and 1 or 0.2) end
  if policy == 'lfu' then return uses end
  if policy == 'random' then return floor + draw end
  return now
end

local function floor() return tonumber(call('HGET', T, 'floor') or '0') end

local function evict(lowest, bytes, budget, policy)
  local excess, left = (tonumber(call('HGET', T, bytes) or '0')) - budget, 256
  if excess <= 0 then return 0 end
  excess = excess + 0.05 * budget  -- so that not every put evicts
  local n, top = 0, floor()
  while excess > 0 and left > 0 do
    local some = call('ZRANGE', lowest, 0, 15, 'WITHSCORES')
    if #some == 0 then break end
    for at = 1, #some, 2 do
      if excess <= 0 then break end
      local o = card(some[at])
      if o then excess = excess - o.size else call('ZREM', lowest, some[at]) end
      if drop(some[at], 'out') then n = n + 1 end
      top, left = math.max(top, tonumber(some[at + 1])), left - 1
    end
  end
  if policy == 'cost' or policy == 'random' then call('HSET', T, 'floor', string.format('%.17g', top)) end
  return n
end

local function tidy(horizon, tenant, budget, tenant_budget, policy)
  local expired = 0
  for _, m in ipairs(call('ZRANGEBYSCORE', E, '-inf', horizon, 'LIMIT', 0, 32)) do
    if drop(m, 'out') then expired = expired + 1 else call('ZREM', E, m) end
  end
  local evicted = 0
  if tenant_budget > 0 and tenant ~= '' then
    evicted = evict(P .. ':' .. tenant, 'bytes:' .. tenant, tenant_budget, policy)
  end
  if budget > 0 then evicted = evicted + evict(P, 'bytes', budget, policy) end
  return expired, evicted
end
"""
)


def _script(body: str) -> Script:
    return Script(_COMMON + body)


# member, card, body, vector, ms to live or 0, now, horizon, policy, uses known, draw, budget, tenant's budget,
# whether a later answer stays, the last removal known when it began -> {"kept", number of the shelf that had an alias
# in its place or false, expired, evicted, events}, {"none"} for an alias of what is gone, {"later"}, {"missed", the
# last removal}
PUT = _script("""
local m, o = ARGV[3], parse(ARGV[4])
local px, now, horizon, policy = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], ARGV[10]
local known, draw = tonumber(ARGV[11]), tonumber(ARGV[12])
local budget, tenant_budget = tonumber(ARGV[13]), tonumber(ARGV[14])
local removed = call('HGET', T, 'removed')
if removed and removed > ARGV[16] then return {'missed', removed} end
if call('EXISTS', C) == 0 then  -- who had to make room took the shelf itself
  call('UNLINK', I, O, P, E, T)
  if removed then call('HSET', T, 'removed', removed) end
end
if o.alias ~= '' and not find(o.scope, o.alias) then return elsewhere(o.alias .. '@' .. o.scope) or {'none'} end
local before = card(m)
if before then
  if ARGV[15] == '1' and before.made > o.made then return {'later'} end
  o.hits = before.hits
  if before.id == o.id and before.made == o.made then
    o.good, o.bad = before.good, before.bad
  else
    drop_others(before.id, before.scope)
    call('UNLINK', w(m))
  end
  if card(m) then take_out(m, before) end
end
local namesake = find(o.scope, o.id)
if namesake then drop(namesake, 'gone') end
local former = elsewhere(m)
if former then call('UNLINK', link(m), link(o.id), link(o.id .. '@' .. o.scope)) end
local ttl = px > 0 and {'PX', px} or {}
call('SET', a(m), ARGV[5], unpack(ttl))
if ARGV[6] ~= '' then call('SET', v(m), ARGV[6], unpack(ttl)) end
call('HSET', C, m, spelled(o))
call('ZADD', O, o.made, m)
local uses = math.max(1 + o.hits, known)
local priority = first(policy, floor(), now, uses, o.worth, draw)
call('ZADD', P, priority, m)
if tenant_budget > 0 then call('ZADD', P .. ':' .. o.tenant, priority, m) end
if o.ends < math.huge then call('ZADD', E, o.ends, m) end
local named = call('HGET', I, o.id)
call('HSET', I, o.id, (named or '') .. m)
if o.alias ~= '' then call('SADD', others(o.alias, o.scope), m) end
weigh(o.tenant, o.size)
tell('put', o)
local expired, evicted = tidy(horizon, o.tenant, budget, tenant_budget, policy)
return {'kept', former and former[2] or false, expired, evicted, events}
""")

# place of a removal: what began before it asks before it is kept
BAR = _script("""
local before = call('HGET', T, 'removed')
if not before or before < ARGV[3] then call('HSET', T, 'removed', ARGV[3]) end
""")

# member, card as it was read, card, body, vector, each as it is to be or "", then triples of a source, its verdict as
# it was read and as it is to be -> 1, or 0: it is not there any more as it was read. Nothing is told: it says the same
RESEAL = _script("""
local m, o, was = ARGV[3], card(ARGV[3]), parse(ARGV[4])
if not o or o.fixed ~= was.fixed or o.vec ~= was.vec or o.embedder ~= was.embedder then return 0 end
for at, key in ipairs({a(m), v(m)}) do
  if ARGV[5 + at] ~= '' and call('EXISTS', key) == 0 then return 0 end
end
if ARGV[5] ~= '' then
  o.fixed = parse(ARGV[5]).fixed
  call('HSET', C, m, spelled(o))
end
for at, key in ipairs({a(m), v(m)}) do
  if ARGV[5 + at] ~= '' then call('SET', key, ARGV[5 + at], 'KEEPTTL') end
end
for at = 8, #ARGV, 3 do
  if call('HGET', w(m), ARGV[at]) == ARGV[at + 1] then call('HSET', w(m), ARGV[at], ARGV[at + 2]) end
end
return 1
""")

# member -> {card, body, vector}, a link, or nil
GET = _script("""
local m = ARGV[3]
local raw = call('HGET', C, m)
if not raw then return elsewhere(m) end
local body, vector = redis.pcall('GET', a(m)), redis.pcall('GET', v(m))
return {raw, type(body) == 'string' and body or false, type(vector) == 'string' and vector or false}
""")

# scope or "" with a tenant, id, tenant -> {member, card, body, vector}, a link, or nil
BY_ID = _script("""
for _, m in ipairs(members(ARGV[4])) do
  local raw = call('HGET', C, m)
  local o = raw and parse(raw)
  if o and (ARGV[3] == '' and o.tenant == ARGV[5] or o.scope == ARGV[3]) then
    local body, vector = redis.pcall('GET', a(m)), redis.pcall('GET', v(m))
    return {m, raw, type(body) == 'string' and body or false, type(vector) == 'string' and vector or false}
  end
end
return elsewhere(ARGV[3] == '' and ARGV[4] or ARGV[4] .. '@' .. ARGV[3])
""")

# id, scope or "" -> {"here", member, card, member, card ...} of it and its aliases, a link, or nil
NAMED = _script("""
local found = {'here'}
local function add(m)
  local raw = call('HGET', C, m)
  if raw then found[#found + 1] = m found[#found + 1] = raw end
end
local scopes = {[ARGV[4]] = true}
for _, m in ipairs(members(ARGV[3])) do
  local o = card(m)
  if o then scopes[o.scope] = true end
  add(m)
end
for scope in pairs(scopes) do
  for _, m in ipairs(call('SMEMBERS', others(ARGV[3], scope))) do add(m) end
end
if #found > 1 then return found end
return elsewhere(ARGV[4] == '' and ARGV[3] or ARGV[3] .. '@' .. ARGV[4])
""")

# member or "", id, scope, shelf, ms to live or 0 -> the shelf that was said before, or nil; what lay here makes way
LINK = _script("""
local m, id, scope, there = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local before = call('GET', link(m ~= '' and m or id .. '@' .. scope))
local o = m ~= '' and card(m)
if o then
  if o.id ~= id then drop_others(o.id, o.scope) end
  take_out(m, o)
  call('UNLINK', w(m))
end
local namesake = find(scope, id)
if namesake then drop(namesake, 'gone') end
for _, name in ipairs({m, id, id .. '@' .. scope}) do
  if name ~= '' then
    if tonumber(ARGV[7]) > 0 then call('SET', link(name), there, 'PX', ARGV[7]) else call('SET', link(name), there) end
  end
end
return {before and tonumber(before) or false, events}
""")

# names of links that led nowhere
UNLINK = _script("for at = 3, #ARGV do call('UNLINK', link(ARGV[at])) end")

# scope, id -> {whether it was here, events}, or a link; its aliases go with it
REMOVE = _script("""
local m = find(ARGV[3], ARGV[4])
drop_others(ARGV[4], ARGV[3])
if m then return {drop(m, 'gone') and 1 or 0, events} end
local there = elsewhere(ARGV[4] .. '@' .. ARGV[3])
if there then
  call('UNLINK', link(ARGV[4]), link(ARGV[4] .. '@' .. ARGV[3]))
  return there
end
return {0, events}
""")

# kind or "" for no event, then members, each with the eight bytes of when it was made, or "" for whatever is there
# -> {events}
DROP = _script("""
for at = 4, #ARGV, 2 do
  local raw = call('HGET', C, ARGV[at])
  if raw and (ARGV[at + 1] == '' or string.sub(raw, 1, 8) == ARGV[at + 1]) then
    if pcall(parse, raw) then
      drop(ARGV[at], ARGV[3])
    else  -- not a card of ours
      call('HDEL', C, ARGV[at])
      for _, key in ipairs({O, P, E}) do call('ZREM', key, ARGV[at]) end
      call('UNLINK', a(ARGV[at]), v(ARGV[at]), w(ARGV[at]))
    end
  end
end
return {events}
""")

# member, eight bytes of when it was made, source, "1" for good, comment, eight bytes of when, most verdicts, how many
# bad ones retire -> {good, bad, events}, a link, or nil
JUDGE = _script("""
local m, source, is_good = ARGV[3], ARGV[5], tonumber(ARGV[6])
local raw = call('HGET', C, m)
if not raw then return elsewhere(m) end
if string.sub(raw, 1, 8) ~= ARGV[4] then return false end
local o = parse(raw)
local before = call('HGET', w(m), source)
if before then
  if string.sub(before, 1, 1) == '1' then o.good = o.good - 1 else o.bad = o.bad - 1 end
end
if is_good == 1 then o.good = o.good + 1 else o.bad = o.bad + 1 end
call('HSET', C, m, spelled(o))
call('HSET', w(m), source, ARGV[6] .. ARGV[8] .. ARGV[7])
if call('HLEN', w(m)) > tonumber(ARGV[9]) then
  local oldest, oldest_s, all = nil, math.huge, call('HGETALL', w(m))
  for at = 1, #all, 2 do
    local at_s = struct.unpack('<d', all[at + 1], 2)
    if at_s < oldest_s then oldest, oldest_s = all[at], at_s end
  end
  call('HDEL', w(m), oldest)
end
if o.bad >= tonumber(ARGV[10]) then
  drop_others(o.id, o.scope)
  drop(m, 'gone')
else
  local left = call('PTTL', a(m))
  if left > 0 then call('PEXPIRE', w(m), left) end
  tell('chg', o)
end
return {o.good, o.bad, events}
""")

# scope, id -> {member, source, verdict, source, verdict ...}, a link, or nil
VERDICTS = _script("""
local m = find(ARGV[3], ARGV[4])
return m and call('HGETALL', w(m)) or elsewhere(ARGV[4] .. '@' .. ARGV[3])
""")

# now, policy, tenant's budget, then ids, each with uses and with uses known -> ids and shelves of what lies elsewhere
USED = _script("""
local now, policy, links = tonumber(ARGV[3]), ARGV[4], {}
for at = 6, #ARGV, 3 do
  local id, n, known, low = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), floor()
  local found = members(id)
  for _, m in ipairs(found) do
    local o = card(m)
    if o then
      o.hits = o.hits + n
      call('HSET', C, m, spelled(o))
      if policy ~= 'fifo' and policy ~= 'random' then
        local priority = first(policy, low, now, math.max(1 + o.hits, known), o.worth, 0)
        call('ZADD', P, priority, m)
        if tonumber(ARGV[5]) > 0 then call('ZADD', P .. ':' .. o.tenant, priority, m) end
      end
    end
  end
  local there = #found == 0 and elsewhere(id)
  if there then links[#links + 1] = {id, there[2]} end
end
return links
""")

# scope, id, end, mark, ms to live -> {"done", events}, a link, or nil
PROLONG = _script("""
local m, o = find(ARGV[3], ARGV[4])
if not m then return elsewhere(ARGV[4] .. '@' .. ARGV[3]) end
local ends = tonumber(ARGV[5])
if o.ends < math.huge and ends > o.ends then
  o.ends, o.endmark = ends, ARGV[6]
  call('HSET', C, m, spelled(o))
  call('ZADD', E, ends, m)
  for _, key in ipairs({a(m), v(m), w(m)}) do call('PEXPIRE', key, ARGV[7]) end
  tell('chg', o)
end
return {'done', events}
""")

# scope, id, mark of the question, embedder, vector as written or "", its bytes, horizon, policy, budget, tenant's
# budget -> {1 or 0, expired, evicted, events}, a link, or nil
VECTOR = _script("""
local m, o = find(ARGV[3], ARGV[4])
if not m then return elsewhere(ARGV[4] .. '@' .. ARGV[3]) end
if string.sub(o.fixed, 129, 144) ~= ARGV[5] then return {0, 0, 0, events} end
local held = #o.embedder + (o.vec == NO_VECTOR and 0 or o.vec)
o.embedder, o.vec = ARGV[6], tonumber(ARGV[8])
local more = #o.embedder + o.vec - held
o.size = o.size + more
call('HSET', C, m, spelled(o))
if ARGV[7] == '' then
  call('UNLINK', v(m))
else
  local left = call('PTTL', a(m))
  call('SET', v(m), ARGV[7])
  if left > 0 then call('PEXPIRE', v(m), left) end
end
weigh(o.tenant, more)
tell('vec', o)
local expired, evicted = tidy(ARGV[9], o.tenant, tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[10])
return {1, expired, evicted, events}
""")

# the server's clock
CLOCK = Script("return redis.call('TIME')")

# {entries, bytes}
SUMS = _script("return {call('HLEN', C), tonumber(call('HGET', T, 'bytes') or '0')}")

# +1 or -1, moment, first bytes of a member, most, "card" or "body" or "vector", embedder wanted or "", embedder not
# wanted or "" -> {moment and first bytes reached or false, rows of {member, card, body or vector}}
PAGE = _script("""
local is_up, start, place, most, what = ARGV[3] == '1', ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7]
local from, since, offset, seen, rows = start, tonumber(start), 0, 0, {}
while seen < most do
  local some
  if is_up then
    some = call('ZRANGEBYSCORE', O, from, '+inf', 'WITHSCORES', 'LIMIT', offset, most)
  else
    some = call('ZREVRANGEBYSCORE', O, from, '-inf', 'WITHSCORES', 'LIMIT', offset, most)
  end
  if #some == 0 then return {false, false, rows} end
  offset = offset + #some / 2
  for at = 1, #some, 2 do
    local m, score = some[at], tonumber(some[at + 1])
    local head = string.sub(m, 1, 6)
    if score ~= since or (is_up and head > place) or (not is_up and head < place) then
      seen = seen + 1
      start, place = some[at + 1], head
      local raw = call('HGET', C, m)
      local o = raw and parse(raw)
      if o and (ARGV[8] == '' or o.vec ~= NO_VECTOR and o.embedder == ARGV[8])
           and (ARGV[9] == '' or o.vec == NO_VECTOR or o.embedder ~= ARGV[9]) then
        local more = false
        if what ~= 'card' then more = redis.pcall('GET', what == 'vector' and v(m) or a(m)) end
        if what == 'vector' and not more and o.vec ~= NO_VECTOR and o.vec > 0 then
          o.vec, o.embedder = NO_VECTOR, ''  -- who had to make room took it: it is to be made anew
          call('HSET', C, m, spelled(o))
        else
          rows[#rows + 1] = {m, raw, type(more) == 'string' and more or false}
        end
      elseif not raw then
        call('ZREM', O, m)
      end
      if seen == most then break end
    end
  end
end
return {start, place, rows}
""")

# policy: gives every entry of the shelf a priority of this policy, unless it has one
ADOPT = _script("""
if call('HGET', T, 'policy') == ARGV[3] then return 0 end
for _, m in ipairs(call('HKEYS', C)) do
  local o = card(m)
  local priority = first(ARGV[3], 0, o.made, 1 + o.hits, o.worth, -math.log(1 - math.random()))
  call('ZADD', P, priority, m)
  if call('ZSCORE', P .. ':' .. o.tenant, m) then call('ZADD', P .. ':' .. o.tenant, priority, m) end
end
call('HSET', T, 'policy', ARGV[3], 'floor', '0')
return 1
""")

# bytes to free -> {evicted, events}: for a server that has no room before our budget is full
SHRINK = _script("""
local held = tonumber(call('HGET', T, 'bytes') or '0')
return {evict(P, 'bytes', held - tonumber(ARGV[3]), ARGV[4]), events}
""")

# somebody keeps something else under our names: the shelf is begun anew
WIPE = _script("return call('UNLINK', C, I, O, P, E, T)")
