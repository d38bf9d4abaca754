-- Counts one request of a client for each of its rates, or refuses it, in one step. Times are the server's, in microseconds: the one
-- clock that all machines share.
--
-- KEYS[1] is the client's: the moments until which what it has sent has used up its time, one a rate, with spaces between. ARGV has
-- for each rate the time from one request to the next, and how far ahead requests may be.
--
-- Answers with the time to wait, nought for a request that passes; then how far ahead the client is, for each rate.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local untils = {}
for moment in string.gmatch(redis.call('GET', KEYS[1]) or '', '%d+') do
  untils[#untils + 1] = tonumber(moment)
end

local wait, ahead, nexts, longest = 0, {}, {}, 0
for at = 1, #ARGV / 2 do
  local interval, tolerance = tonumber(ARGV[2 * at - 1]), tonumber(ARGV[2 * at])
  -- Never further ahead than one can get: the clock, or the rate, was another when that was written.
  local moment = math.min(math.max(untils[at] or 0, now), now + tolerance)
  local next = moment + interval
  ahead[at] = moment - now
  wait = math.max(wait, next - now - tolerance)
  longest = math.max(longest, next - now)
  nexts[at] = string.format('%.0f', next)
end

if wait == 0 then
  for at = 1, #nexts do
    ahead[at] = tonumber(nexts[at]) - now
  end
  redis.call('SET', KEYS[1], table.concat(nexts, ' '), 'PX', string.format('%.0f', math.ceil(longest / 1000)))
end
return { wait, unpack(ahead) }
