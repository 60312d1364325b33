-- limit: counts requests in windows that begin with the first of them.
-- KEYS[1] counter of one client and path, KEYS[2] how many counters the client has made, KEYS[3] the
-- counter of all paths beyond ARGV[2]: else a client who asks for ever new paths would fill Redis
-- ARGV[1] length of a window, in ms; ARGV[2] counters that a client may have
-- Returns {how many with this one, ms until the window ends}.
local function count(key)
    local n = redis.call('INCR', key)
    local left = redis.call('PTTL', key)
    if left < 0 then
        redis.call('PEXPIRE', key, ARGV[1])
        left = tonumber(ARGV[1])
    end
    return {n, left}
end

if redis.call('EXISTS', KEYS[1]) == 0 and count(KEYS[2])[1] > tonumber(ARGV[2]) then
    return count(KEYS[3])
end
return count(KEYS[1])
