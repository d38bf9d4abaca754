-- What a cache asks of Redis, each in one step. Times are the server's, in microseconds: the one clock that all machines share.
--
-- An entry is a hash: `value`, `stale` (how long it may be given out after its time, in milliseconds), `since` (the moment
-- before it was made) and `tags` (the keys of its tags, with NUL between). A tag is a number, the time of its last purge: an
-- entry counts only while each of its tags is there and no younger than the entry. So a purge writes one number and looks for
-- nothing; and where Redis threw a tag away for want of memory, what had it is gone too, and not back.

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function text(number)
  return string.format('%.0f', number)
end

-- For as long as whatever began before a purge may take to come back with what it made.
local LATE = 3600000

local what, key = ARGV[1], KEYS[1]

if what == 'get' then
  local entry = redis.call('HMGET', key, 'value', 'stale', 'since', 'tags')
  local ticket = text(now())
  -- More than anybody puts there is not read into anybody's memory.
  if not entry[1] or not entry[2] or not entry[3] or not entry[4] or #entry[1] > tonumber(ARGV[3]) then
    return { ticket }
  end
  for tag in string.gmatch(entry[4], '[^%z]+') do
    local purged = redis.call('GET', tag)
    if not purged or tonumber(purged) > tonumber(entry[3]) then
      return { ticket }
    end
  end
  if entry[3] == ARGV[2] then
    return { ticket, entry[3] }
  end
  return { ticket, entry[1], text(redis.call('PTTL', key)), entry[2], entry[4], entry[3] }
end

if what == 'put' then
  local since, lifetime = ARGV[2], tonumber(ARGV[3])
  if since == '' then
    since = text(now() + 1)
  end
  local there = redis.call('HGET', key, 'since')
  if there and tonumber(there) > tonumber(since) then
    return 0
  end
  local tags = {}
  for at = 6, #ARGV do
    local tag = ARGV[at]
    local purged = redis.call('GET', tag)
    if purged and tonumber(purged) > tonumber(since) then
      return 0
    end
    if not purged then
      redis.call('SET', tag, since, 'PX', lifetime + LATE)
    elseif redis.call('PTTL', tag) < lifetime then
      redis.call('PEXPIRE', tag, lifetime + LATE)
    end
    tags[#tags + 1] = tag
  end
  redis.call('HSET', key, 'value', ARGV[5], 'stale', ARGV[4], 'since', since, 'tags', table.concat(tags, '\0'))
  redis.call('PEXPIRE', key, lifetime)
  return 1
end

if what == 'remove' then
  -- What is left says no to what was made before.
  redis.call('DEL', key)
  redis.call('HSET', key, 'since', text(now() + 1))
  redis.call('PEXPIRE', key, LATE)
  return 1
end

if what == 'purge' then
  local purged, left = now() + 1, LATE
  local before = redis.call('GET', key)
  if before then
    purged = math.max(purged, tonumber(before) + 1)
    left = math.max(left, redis.call('PTTL', key))
  end
  redis.call('SET', key, text(purged), 'PX', left)
  return 1
end

return redis.error_reply('ERR unknown step of a cache')
