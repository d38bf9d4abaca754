-- Writes what one request did to a session: all of it at once, as others see it.
--
-- A session is a hash: `created`, `expires`, perhaps `moved` (the key where it went), and its values, behind a colon each.
--
-- KEYS  the session; for `rotate` the key it goes to; and its home, if it went away from the first before
-- ARGV  begin, change, follow or rotate; now, created, expires, seconds until then, seconds of grace; whether it is cleared
--       first; then for each change: set, remove or add; the key; the value
--
-- Answers 1: written, 0: there is no such session, or the key where it went, to be asked next. No key is touched that was
-- not named, so that every kind of server can tell what is locked or where it lies.

local what, now, created, expires, seconds, grace, cleared = unpack(ARGV)

-- When it ends, and where it went; neither for one that is gone.
local function look(key)
  local found = redis.call('HMGET', key, 'expires', 'moved')
  if found[1] and tonumber(found[1]) > tonumber(now) then return found[1], found[2] end
end

local function apply(key)
  if cleared == '1' then
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if field:sub(1, 1) == ':' then redis.call('HDEL', key, field) end
    end
  end
  for at = 8, #ARGV, 3 do
    local field, value = ':' .. ARGV[at + 1], ARGV[at + 2]
    if ARGV[at] == 'set' then
      redis.call('HSET', key, field, value)
    elseif ARGV[at] == 'remove' then
      redis.call('HDEL', key, field)
    else
      -- Lua's numbers are no 64-bit integers, and those of HINCRBY are. What it refuses is a sum beyond them, which stops
      -- at their end, or a value that is no integer, which counts as 0.
      local sum = redis.pcall('HINCRBY', key, field, value)
      if type(sum) == 'table' and sum.err then
        if sum.err:find('overflow') then
          value = value:sub(1, 1) == '-' and '-9223372036854775808' or '9223372036854775807'
        end
        redis.call('HSET', key, field, value)
      end
    end
  end
end

local function keep(key)
  redis.call('HSET', key, 'expires', expires)
  redis.call('EXPIRE', key, seconds)
end

local from, to, home = KEYS[1], KEYS[2], KEYS[3]

if what == 'begin' then
  redis.call('HSET', from, 'created', created)
  apply(from)
  keep(from)
  return 1
end

local ends, away = look(from)
if not ends then return 0 end

if what == 'rotate' then
  if away and not home then return away end
  if home then
    local living, further = look(home)
    if not living then return 0 end
    if further then return further end
  end
  redis.call('HSET', to, 'created', created)
  local fields = redis.call('HGETALL', from)
  for at = 1, #fields, 2 do
    if fields[at]:sub(1, 1) == ':' then redis.call('HSET', to, fields[at], fields[at + 1]) end
  end
  apply(to)
  keep(to)
  if not away then
    redis.call('HSET', from, 'moved', to)
    if tonumber(seconds) > tonumber(grace) then
      redis.call('HSET', from, 'expires', string.format('%d', now + grace))
      redis.call('EXPIRE', from, grace)
    end
  end
  return 1
end

if away then return away end
apply(from)
if what == 'change' and ends ~= expires then keep(from) end
return 1
