-- The verbs of the budget store: in one call all that one turn of a client's loop submits, in their order. Each verb is done wholly or not
-- at all: everything is read (and a key of the wrong type found) before its first write, and that first write is one that a server without
-- memory refuses, except where money comes back. A verb that fails is answered with its error, and those behind it are done.
--
-- KEYS: holds, settled, counters, unrecorded (sorted sets: hold ids by expiry, settled ids by when they are forgotten, counters by expiry,
-- settled ids by when a sweep takes their record for lost), charged (a hash: what each of the last is owed a record of).
-- ARGV: prefix of keys, "1" if a verb among them takes something, then five words a verb: its name, now (UTC seconds), and what it says.
-- Keys made from the prefix are in the same hash slot. The answer has one item a verb.
--
-- PREFIX h:ID is a hold: JSON [about, [[counter, unit, limit or "", amount, span, expires], ...], when it was reserved].
-- A field of charged: s (settled), t (settled, and taken for lost by a sweep) or u (settled by a sweep), then JSON [about, [[counter, unit,
-- amount], ...]]. The script that writes records removes it together with what it writes.
-- PREFIX c:KEY is a counter: a hash of s (spent), h (held), e (expires); with a rolling window also w (its span), o (its oldest slice) and
-- r (slices "number:amount", in order, joined by spaces). Counters are read once a call, and written once at its end.
--
-- In front of this stand amounts.lua and windows.lua.

local prefix = ARGV[1]
local TOMBSTONE, MOST_LATE = 120, 1000
local now  -- the verb's

local function taken_at_once(part) return part[2] == 'requests' and tonumber(part[5]) > 0 end

local counters = {}
local function counter(key, span)
  local c = counters[key]
  if not c then
    local v = redis.call('HMGET', prefix .. 'c:' .. key, 's', 'h', 'e', 'w')
    c = {key = key, new = not v[1], s = num(v[1] or '0'), h = num(v[2] or '0'), e = tonumber(v[3] or 0), w = tonumber(v[4] or 0), r = ''}
    if c.w > 0 then
      local rest = redis.call('HMGET', prefix .. 'c:' .. key, 'o', 'r')
      c.o, c.r = tonumber(rest[1] or ''), rest[2] or ''
    end
    c.expires, c.seen = v[3], now
    counters[key] = c
  end
  c.seen = math.max(c.seen, now)
  if c.w > 0 then
    forget(c, now)
  elseif span and tonumber(span) > 0 then  -- one that was none before: what it knows was spent just now
    local before = c.s
    c.s, c.w = 0, tonumber(span)
    spend(c, now, before)
  end
  return c
end

-- whether there is room for what takes something; asked before the first write, because after one the server no longer says
local full = ARGV[2] == '1' and redis.pcall('ZADD', KEYS[3], 'XX', 0, '')
full = type(full) == 'table' and full.err and full

local function save(c)
  local name, expires = prefix .. 'c:' .. c.key, not c.later and c.expires or time(c.e)
  if c.w > 0 then
    redis.call('HSET', name, 's', str(c.s), 'h', str(c.h), 'e', expires, 'w', time(c.w), 'o', c.o and string.format('%.0f', c.o) or '',
      'r', c.r)
  else
    redis.call('HSET', name, 's', str(c.s), 'h', str(c.h), 'e', expires)
  end
  if c.new or c.later or c.e <= c.seen then redis.call('ZADD', KEYS[3], expires, c.key) end
end

-- write what changed, and have counters read again
local function save_all()
  for _, c in pairs(counters) do
    if c.changed or (c.forgot and not full) then save(c) end
  end
  counters = {}
end

local function answer(status, parts, frees)
  local found = {}
  for i, part in ipairs(parts) do
    local c = counter(part[1], part[5])
    found[i] = '[' .. str(c.s) .. ',' .. str(c.h) .. ']'
  end
  return '[' .. status .. ',' .. (frees or 'null') .. ',[' .. table.concat(found, ',') .. ']]'
end

local function exceeded(index, parts)
  local c = counter(parts[index][1], parts[index][5])
  return answer(index, parts, c.w > 0 and c.o and time(forgotten_at(c.o, c.w)))
end

local function same(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    for n = 1, 4 do
      if a[i][n] ~= b[i][n] then return false end
    end
  end
  return true
end

-- by unit, from JSON
local function amounts_of(text)
  local found = cjson.decode(text)
  for unit, amount in pairs(found) do
    if type(amount) == 'string' then found[unit] = num(amount) end
  end
  return found
end

local function take(c, part, at, amount)
  if taken_at_once(part) then spend(c, at, amount) else c.h = add(c.h, amount) end
  c.changed = true
end

-- hold id, expires, the hold
local function reserve(id, expires, made)
  if redis.call('ZSCORE', KEYS[2], id) then return '[-1,null,[]]' end
  local parts = cjson.decode(made)[2]
  local standing = redis.call('GET', prefix .. 'h:' .. id)
  if standing then
    local old = cjson.decode(standing)[2]
    return same(old, parts) and answer(0, old) or '[-2,null,[]]'
  end
  local more = {}
  for i, part in ipairs(parts) do
    local c = counter(part[1], part[5])
    local total = add(more[c] or 0, num(part[4]))
    if part[3] ~= '' and not at_most(add(add(c.s, c.h), total), num(part[3])) then return exceeded(i, parts) end
    more[c], part[6] = total, part[6] + 0  -- a fault here, not between writes
  end
  if full then error(full) end
  redis.call('ZADD', KEYS[1], expires, id)
  redis.call('SET', prefix .. 'h:' .. id, made)
  for _, part in ipairs(parts) do
    local c = counters[part[1]]
    take(c, part, now, num(part[4]))
    if part[6] > c.e then c.e, c.later = part[6], true end
  end
  return answer(0, parts)
end

-- hold id, expires or "", amounts by unit as JSON
local function extend(id, expires, wanted)
  local standing = redis.call('GET', prefix .. 'h:' .. id)
  if not standing then return '[-1,null,[]]' end
  local hold, amounts, more = cjson.decode(standing), amounts_of(wanted), {}
  for i, part in ipairs(hold[2]) do
    local c = counter(part[1], part[5])
    local total = add(more[c] or 0, sub(amounts[part[2]] or 0, num(part[4])))
    if part[3] ~= '' and not at_most(add(add(c.s, c.h), total), num(part[3])) then return exceeded(i, hold[2]) end
    more[c] = total
  end
  if full then error(full) end
  if expires ~= '' then redis.call('ZADD', KEYS[1], 'GT', expires, id) end
  local begun, grown = tonumber(hold[3]), {}
  for i, part in ipairs(hold[2]) do
    local amount = amounts[part[2]] or 0
    grown[i] = sub(amount, num(part[4]))
    if grown[i] ~= 0 then part[4] = str(amount) end
  end
  redis.call('SET', prefix .. 'h:' .. id, cjson.encode(hold))
  for i, part in ipairs(hold[2]) do
    if grown[i] ~= 0 then take(counters[part[1]], part, begun, grown[i]) end
  end
  return answer(0, hold[2])
end

-- keep what a hold was charged until there is a record of it
local function owe(id, about, bill, swept)
  if #bill == 0 and not swept then return nil end
  local text = (swept and 'u' or 's') .. '[' .. cjson.encode(about) .. ',' .. (#bill == 0 and '[]' or cjson.encode(bill)) .. ']'
  redis.call('HSET', KEYS[5], id, text)
  redis.call('ZADD', KEYS[4], now + TOMBSTONE, id)
  return text
end

-- amounts nil: all that is held
local function settle(id, amounts, refund)
  if redis.call('ZSCORE', KEYS[2], id) then return false end
  local standing = redis.call('GET', prefix .. 'h:' .. id)
  if not standing then
    redis.call('ZADD', KEYS[2], now + TOMBSTONE, id)
    return false
  end
  local hold = cjson.decode(standing)
  local parts, begun = hold[2], tonumber(hold[3])
  for _, part in ipairs(parts) do counter(part[1], part[5]) end
  redis.call('ZREM', KEYS[1], id)  -- allowed without memory, and what follows it then is too
  redis.call('DEL', prefix .. 'h:' .. id)
  redis.call('ZADD', KEYS[2], now + TOMBSTONE, id)
  local bill = {}
  for _, part in ipairs(parts) do
    local c, held = counters[part[1]], num(part[4])
    local charged = 0
    if part[2] ~= 'concurrency' and not refund[part[1]] then
      charged = amounts == nil and held or amounts and amounts[part[2]] or 0
      if amounts == nil or charged ~= 0 then bill[#bill + 1] = {part[1], part[2], str(charged)} end
    end
    if not taken_at_once(part) then
      c.h = sub(c.h, held)
      spend(c, now, charged)
    elseif at_most(charged, held) then
      unspend(c, begun, sub(held, charged))
    else
      spend(c, begun, sub(charged, held))
    end
    c.changed = true
  end
  return true, owe(id, hold[1], bill, amounts == nil)
end

-- put those whose record is late last in the row, and what they are charged into found
local function late(found)
  local over = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, MOST_LATE)
  for _, id in ipairs(over) do
    local text = redis.call('HGET', KEYS[5], id)
    if text then
      if string.sub(text, 1, 1) == 's' then
        text = 't' .. string.sub(text, 2)
        redis.call('HSET', KEYS[5], id, text)
      end
      redis.call('ZADD', KEYS[4], now + TOMBSTONE, id)
      redis.call('ZADD', KEYS[2], now + TOMBSTONE, id)
      found[#found + 1] = id
      found[#found + 1] = text
    else
      redis.call('ZREM', KEYS[4], id)
    end
  end
end

-- the most to do at once, and whether to look for those whose record is late too
local function sweep(most, first)
  most = tonumber(most)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)  -- allowed without memory, and what follows it then is too
  local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, most)
  local ended = {0}
  if first == '1' then late(ended) end
  for _, id in ipairs(over) do
    local done, text = settle(id, nil, {})
    if done then
      ended[#ended + 1] = id
      ended[#ended + 1] = text
    else
      redis.call('ZREM', KEYS[1], id)
    end
  end
  save_all()
  local old = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, most)
  for _, key in ipairs(old) do
    -- one that holds something goes back among them when it is next written
    if counter(key).h == 0 then redis.call('DEL', prefix .. 'c:' .. key) end
    redis.call('ZREM', KEYS[3], key)
  end
  counters = {}
  if #over == most or #old == most then ended[1] = 1 end
  return ended
end

-- counters as JSON; looking changes nothing
local function balances(keys)
  save_all()
  local parts = {}
  for i, key in ipairs(cjson.decode(keys)) do parts[i] = {key} end
  local found = answer(0, parts)
  counters = {}
  return found
end

-- hold ids as JSON
local function recorded(ids)
  for _, id in ipairs(cjson.decode(ids)) do
    redis.call('HDEL', KEYS[5], id)
    redis.call('ZREM', KEYS[4], id)
  end
  return 0
end

local verbs = {reserve = reserve, extend = extend, sweep = sweep, balances = balances, recorded = recorded}
function verbs.settle(id, amounts, refund)  -- hold id, amounts by unit as JSON, refunded counters as a JSON object
  return settle(id, amounts_of(amounts), cjson.decode(refund)) and 1 or 0
end

-- older servers put in front of an error where it happened
local function refusal(text) return redis.error_reply(string.match(text, '^@?user_script: ?%d+: %-?(.*)') or text) end

local answers = {}
for i = 3, #ARGV, 5 do
  now = tonumber(ARGV[i + 1])
  local done, found = pcall(verbs[ARGV[i]], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  if not done then found = refusal(type(found) == 'table' and found.err or tostring(found)) end
  answers[#answers + 1] = found
end
save_all()
return answers
