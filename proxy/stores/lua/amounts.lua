-- Arithmetic of amounts, in front of the script that needs it. Kept and sent as decimal strings; here they are numbers below 1e15 and
-- strings from there on, because Lua's numbers are exact up to 2^53 only. None is negative: what would be is 0.

local function num(text) return #text < 16 and tonumber(text) or text end

local function str(a) return type(a) == 'number' and string.format('%.0f', a) or a end

local function add(a, b)
  if type(a) == 'number' and type(b) == 'number' and a + b < 1e15 then return a + b end
  a, b = str(a), str(b)
  local low = tonumber(string.sub(a, -15)) + tonumber(string.sub(b, -15))
  local high = (tonumber(string.sub(a, 1, -16)) or 0) + (tonumber(string.sub(b, 1, -16)) or 0)
  if low >= 1e15 then low, high = low - 1e15, high + 1 end
  return string.format('%.0f%015.0f', high, low)
end

local function at_most(a, b)
  if type(a) == 'number' then return type(b) == 'string' or a <= b end
  return type(b) == 'string' and (#a < #b or (#a == #b and a <= b))
end

local function sub(a, b)
  if at_most(a, b) then return 0 end
  if type(a) == 'number' then return a - b end
  b = str(b)
  local low = tonumber(string.sub(a, -15)) - tonumber(string.sub(b, -15))
  local high = tonumber(string.sub(a, 1, -16)) - (tonumber(string.sub(b, 1, -16)) or 0)
  if low < 0 then low, high = low + 1e15, high - 1 end
  if high == 0 then return low end
  return string.format('%.0f%015.0f', high, low)
end

local function time(at) return string.format('%.17g', at) end
