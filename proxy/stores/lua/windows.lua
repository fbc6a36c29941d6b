-- Rolling windows of counters, in front of the script that needs them and behind amounts.lua. See budget.lua for what a counter holds.

local SLICES = 60

local function slice_of(at, span) return math.floor(at * SLICES / span) end

local function forgotten_at(number, span) return (number + 1 + SLICES) * span / SLICES end

local function slices_of(c)
  local found, order = {}, {}
  for number, amount in string.gmatch(c.r, '(%d+):(%d+)') do
    number = tonumber(number)
    found[number], order[#order + 1] = num(amount), number
  end
  return found, order
end

local function set_slices(c, found, order)
  table.sort(order)
  local text = {}
  for _, number in ipairs(order) do
    if found[number] ~= 0 then text[#text + 1] = string.format('%.0f:%s', number, str(found[number])) end
  end
  c.r, c.o = table.concat(text, ' '), text[1] and tonumber(string.match(text[1], '^%d+'))
end

-- what a rolling window no longer sees is spent no more
local function forget(c, now)
  local first, from = slice_of(now, c.w) - SLICES, 1
  if not c.o or c.o >= first then return end
  c.o, c.forgot = nil, true
  for number, amount, past in string.gmatch(c.r, '(%d+):(%d+) ?()') do
    if tonumber(number) >= first then
      c.o = tonumber(number)
      break
    end
    c.s, from = sub(c.s, num(amount)), past
  end
  c.r = string.sub(c.r, from)
end

local function spend(c, at, amount)
  if amount == 0 then return end
  c.s = add(c.s, amount)
  if c.w == 0 then return end
  local slice = slice_of(at, c.w)
  local newest, sum = string.match(string.sub(c.r, -64), '(%d+):(%d+)$')  -- a slice is never longer, and only the newest is wanted
  local number = tonumber(newest or '')
  if not number or number < slice then
    c.r = string.format('%s%s%.0f:%s', c.r, c.r == '' and '' or ' ', slice, str(amount))
    c.o = c.o or slice
  elseif number == slice then
    c.r = string.sub(c.r, 1, -1 - #sum) .. str(add(num(sum), amount))
  else
    local found, order = slices_of(c)
    if not found[slice] then order[#order + 1] = slice end
    found[slice] = add(found[slice] or 0, amount)
    set_slices(c, found, order)
  end
  local until_then = forgotten_at(slice, c.w)
  if until_then > c.e then c.e, c.later = until_then, true end
end

-- take back of a rolling window what is still there of it
local function unspend(c, at, amount)
  if amount == 0 then return end
  local found, order = slices_of(c)
  local slice = slice_of(at, c.w)
  local there = found[slice]
  if not there then return end
  if at_most(there, amount) then amount = there end
  found[slice] = sub(there, amount)
  c.s = sub(c.s, amount)
  set_slices(c, found, order)
end
