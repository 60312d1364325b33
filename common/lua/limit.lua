-- limit: counts in a window that begins with the first of its requests.
-- KEYS[1] counter; ARGV[1] length of the window, in ms
-- Returns {how many with this one, ms until the window ends}.
local n = redis.call('INCR', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    left = tonumber(ARGV[1])
end
return {n, left}
