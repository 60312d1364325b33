-- hasten: jobs that wait in later for their time are due now; who promotes finds them.
-- KEYS[1] later (zset); ARGV[1] at most so many
-- Returns how many.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local waiting = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'LIMIT', 0, ARGV[1])
for _, id in ipairs(waiting) do
    redis.call('ZADD', KEYS[1], 'XX', now, id)
end
return #waiting
