-- All verbs of the budget store, one call each. A script is atomic, so each verb is done wholly or not at all: everything is read (and a
-- key of the wrong type found) before the first write, and that first write is one that a server without memory refuses, except where
-- money comes back.
--
-- KEYS: holds, settled, counters, unrecorded (sorted sets: hold ids by expiry, settled ids by when they are forgotten, counters by expiry,
-- settled ids by when a sweep takes their record for lost), charged (a hash: what each of the last is owed a record of).
-- ARGV: verb, prefix of keys, now (UTC seconds), then what the verb says. Keys made from the prefix are in the same hash slot.
--
-- PREFIX h:ID is a hold: JSON [about, [[counter, unit, limit or "", amount, span], ...], when it was reserved].
-- A field of charged: s (settled), t (settled, and taken for lost by a sweep) or u (settled by a sweep), then JSON [about, [[counter, unit,
-- amount], ...]]. The script that writes records removes it together with what it writes.
-- PREFIX c:KEY is a counter: a hash of s (spent), h (held), e (expires); with a rolling window also w (its span), o (its oldest slice) and
-- r (slices "number:amount", in order, joined by spaces). Amounts are decimal strings: Lua's numbers are exact up to 2^53 only.

local verb, prefix, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local SLICES, TOMBSTONE, MOST_LATE = 60, 120, 1000

local function add(a, b)
  if #a < 16 and #b < 16 then return string.format('%.0f', a + b) end
  local low = tonumber(string.sub(a, -15)) + tonumber(string.sub(b, -15))
  local high = (tonumber(string.sub(a, 1, -16)) or 0) + (tonumber(string.sub(b, 1, -16)) or 0)
  if low >= 1e15 then low, high = low - 1e15, high + 1 end
  return string.format('%.0f%015.0f', high, low)
end

local function at_most(a, b) return #a < #b or (#a == #b and a <= b) end

local function sub(a, b)
  if at_most(a, b) then return '0' end
  if #a < 16 then return string.format('%.0f', a - b) end
  local low = tonumber(string.sub(a, -15)) - tonumber(string.sub(b, -15))
  local high = tonumber(string.sub(a, 1, -16)) - (tonumber(string.sub(b, 1, -16)) or 0)
  if low < 0 then low, high = low + 1e15, high - 1 end
  if high == 0 then return string.format('%.0f', low) end
  return string.format('%.0f%015.0f', high, low)
end

local function slice_of(at, span) return math.floor(at * SLICES / span) end

local function forgotten_at(number, span) return (number + 1 + SLICES) * span / SLICES end

local function slices_of(c)
  local found, order = {}, {}
  for number, amount in string.gmatch(c.r, '(%d+):(%d+)') do
    number = tonumber(number)
    found[number], order[#order + 1] = amount, number
  end
  return found, order
end

local function set_slices(c, found, order)
  table.sort(order)
  local text = {}
  for _, number in ipairs(order) do
    if found[number] ~= '0' then text[#text + 1] = string.format('%.0f:%s', number, found[number]) end
  end
  c.r, c.o = table.concat(text, ' '), text[1] and tonumber(string.match(text[1], '^%d+'))
end

-- what a rolling window no longer sees is spent no more
local function forget(c)
  local first = slice_of(now, c.w) - SLICES
  if not c.o or c.o >= first then return end
  local found, order = slices_of(c)
  for number, amount in pairs(found) do
    if number < first then c.s, found[number] = sub(c.s, amount), '0' end
  end
  set_slices(c, found, order)
  c.forgot = true
end

local function spend(c, at, amount)
  if amount == '0' then return end
  c.s = add(c.s, amount)
  if c.w == 0 then return end
  local slice = slice_of(at, c.w)
  local before, number, sum = string.match(c.r, '^(.-)(%d+):(%d+)$')
  number = tonumber(number or '')
  if not number or number < slice then
    c.r = string.format('%s%s%.0f:%s', c.r, c.r == '' and '' or ' ', slice, amount)
    c.o = c.o or slice
  elseif number == slice then
    c.r = string.format('%s%.0f:%s', before, slice, add(sum, amount))
  else
    local found, order = slices_of(c)
    if not found[slice] then order[#order + 1] = slice end
    found[slice] = add(found[slice] or '0', amount)
    set_slices(c, found, order)
  end
  local until_then = forgotten_at(slice, c.w)
  if until_then > tonumber(c.e) then c.e, c.later = string.format('%.17g', until_then), true end
end

-- take back of a rolling window what is still there of it
local function unspend(c, at, amount)
  local found, order = slices_of(c)
  local slice = slice_of(at, c.w)
  local there = found[slice]
  if not there then return end
  if at_most(there, amount) then amount = there end
  found[slice] = sub(there, amount)
  c.s = sub(c.s, amount)
  set_slices(c, found, order)
end

local function taken_at_once(part) return part[2] == 'requests' and tonumber(part[5]) > 0 end

local counters = {}
local function counter(key, span)
  local c = counters[key]
  if c then return c end
  local v = redis.call('HMGET', prefix .. 'c:' .. key, 's', 'h', 'e', 'w', 'o', 'r')
  c = {key = key, new = not v[1], s = v[1] or '0', h = v[2] or '0', e = v[3] or '0', r = v[6] or ''}
  c.w, c.o, span = tonumber(v[4] or 0), tonumber(v[5] or ''), tonumber(span or 0)
  if c.w > 0 then
    forget(c)
  elseif span > 0 then  -- one that was none before: what it knows was spent just now
    local before = c.s
    c.s, c.w = '0', span
    spend(c, now, before)
  end
  counters[key] = c
  return c
end

local function save(c)
  local name = prefix .. 'c:' .. c.key
  if c.w > 0 then
    redis.call('HSET', name, 's', c.s, 'h', c.h, 'e', c.e, 'w', string.format('%.17g', c.w),
      'o', c.o and string.format('%.0f', c.o) or '', 'r', c.r)
  else
    redis.call('HSET', name, 's', c.s, 'h', c.h, 'e', c.e)
  end
  if c.new or c.later or tonumber(c.e) <= now then redis.call('ZADD', KEYS[3], c.e, c.key) end
end

local function answer(status, parts, frees)
  local found = {status, frees or ''}
  for _, part in ipairs(parts) do
    local c = counter(part[1], part[5])
    if c.w > 0 then forget(c) end  -- what was added to a step that is over
    found[#found + 1] = c.s
    found[#found + 1] = c.h
  end
  return found
end

local function exceeded(index, parts)
  local c = counter(parts[index][1], parts[index][5])
  local frees = c.w > 0 and c.o and string.format('%.17g', forgotten_at(c.o, c.w))
  return answer(index, parts, frees)
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

local function each_counter(work)
  for _, c in pairs(counters) do work(c) end
end

-- hold id, expires, the hold, then when each part's counter expires
local function reserve()
  local id, made = ARGV[4], ARGV[6]
  if redis.call('ZSCORE', KEYS[2], id) then return {-1} end
  local parts = cjson.decode(made)[2]
  local standing = redis.call('GET', prefix .. 'h:' .. id)
  if standing then
    local old = cjson.decode(standing)[2]
    if not same(old, parts) then return {-2} end
    return answer(0, old)
  end
  for i, part in ipairs(parts) do
    local c = counter(part[1], part[5])
    local held = add(c.h, part[4])
    if part[3] ~= '' and not at_most(add(c.s, held), part[3]) then
      counters = {}  -- nothing was written: read again what is there
      local refused = exceeded(i, parts)
      each_counter(function(c) if c.forgot then save(c) end end)
      return refused
    end
    if taken_at_once(part) then spend(c, now, part[4]) else c.h = held end
    local expires = ARGV[6 + i]
    if tonumber(expires) > tonumber(c.e) then c.e, c.later = expires, true end
  end
  redis.call('SET', prefix .. 'h:' .. id, made)
  redis.call('ZADD', KEYS[1], ARGV[5], id)
  each_counter(save)
  return answer(0, parts)
end

-- hold id, expires or "", amounts by unit as JSON
local function extend()
  local id, expires, amounts = ARGV[4], ARGV[5], cjson.decode(ARGV[6])
  local standing = redis.call('GET', prefix .. 'h:' .. id)
  if not standing then return {-1} end
  local hold = cjson.decode(standing)
  local begun, more = tonumber(hold[3]), {}
  for i, part in ipairs(hold[2]) do
    local c, wanted = counter(part[1], part[5]), amounts[part[2]] or '0'
    local total = add(more[c] or '0', sub(wanted, part[4]))
    if part[3] ~= '' and not at_most(add(add(c.s, c.h), total), part[3]) then return exceeded(i, hold[2]) end
    more[c] = total
  end
  for _, part in ipairs(hold[2]) do
    local c, wanted = counter(part[1]), amounts[part[2]] or '0'
    if not at_most(wanted, part[4]) then part[4] = wanted end
    if more[c] ~= '0' then
      if taken_at_once(part) then spend(c, begun, more[c]) else c.h = add(c.h, more[c]) end
      more[c] = '0'
    end
  end
  redis.call('SET', prefix .. 'h:' .. id, cjson.encode(hold))
  if expires ~= '' then redis.call('ZADD', KEYS[1], 'GT', expires, id) end
  each_counter(save)
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
  redis.call('DEL', prefix .. 'h:' .. id)  -- allowed without memory, and what follows it then is too
  redis.call('ZREM', KEYS[1], id)
  redis.call('ZADD', KEYS[2], now + TOMBSTONE, id)
  local bill = {}
  for _, part in ipairs(parts) do
    local c = counter(part[1], part[5])
    local charged = '0'
    if part[2] ~= 'concurrency' and not refund[part[1]] then
      charged = amounts == nil and part[4] or amounts and amounts[part[2]] or '0'
      if amounts == nil or charged ~= '0' then bill[#bill + 1] = {part[1], part[2], charged} end
    end
    if not taken_at_once(part) then
      c.h = sub(c.h, part[4])
      spend(c, now, charged)
    elseif at_most(charged, part[4]) then
      unspend(c, begun, sub(part[4], charged))
    else
      spend(c, begun, sub(charged, part[4]))
    end
    c.changed = true
  end
  each_counter(function(c)
    if c.changed then
      save(c)
      c.changed, c.new, c.later = nil, nil, nil
    end
  end)
  return true, owe(id, hold[1], bill, amounts == nil)
end

-- put those whose record is late last in the row, and what they are charged into found
local function late(found)
  local over = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', ARGV[3], 'LIMIT', 0, MOST_LATE)
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
local function sweep()
  local most = tonumber(ARGV[4])
  local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[3], 'LIMIT', 0, most)
  local ended = {0}
  if ARGV[5] == '1' then late(ended) end
  for _, id in ipairs(over) do
    local done, text = settle(id, nil, {})
    if done then
      ended[#ended + 1] = id
      ended[#ended + 1] = text
    else
      redis.call('ZREM', KEYS[1], id)
    end
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[3])
  local old = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[3], 'LIMIT', 0, most)
  for _, key in ipairs(old) do
    -- one that holds something goes back among them when it is next written
    if counter(key).h == '0' then redis.call('DEL', prefix .. 'c:' .. key) end
    redis.call('ZREM', KEYS[3], key)
  end
  if #over == most or #old == most then ended[1] = 1 end
  return ended
end

if verb == 'reserve' then return reserve() end
if verb == 'extend' then return extend() end
if verb == 'settle' then  -- hold id, amounts by unit as JSON, refunded counters as a JSON object
  return settle(ARGV[4], cjson.decode(ARGV[5]), cjson.decode(ARGV[6])) and 1 or 0
end
if verb == 'sweep' then return sweep() end
if verb == 'recorded' then  -- hold ids
  for i = 4, #ARGV do
    redis.call('HDEL', KEYS[5], ARGV[i])
    redis.call('ZREM', KEYS[4], ARGV[i])
  end
  return 0
end
if verb == 'balances' then  -- counters as JSON
  local parts = {}
  for i, key in ipairs(cjson.decode(ARGV[4])) do parts[i] = {key} end
  return answer(0, parts)
end
return redis.error_reply('ERR no such verb')
