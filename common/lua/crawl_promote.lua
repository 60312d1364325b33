-- crawl_promote: crawl jobs whose time has come go from later to their stream, as they were.
-- KEYS[1] stream, KEYS[2] later (zset), KEYS[3] later:jobs (hash of fields, MessagePack)
-- ARGV[1] at most so many, ARGV[2] prefix of the markers (same hash tag)
-- Redis' own clock decides, so that all hosts agree. Returns how many were moved.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
    local packed = redis.call('HGET', KEYS[3], id)
    if packed then
        local entry = redis.call('XADD', KEYS[1], '*', unpack(cmsgpack.unpack(packed)))
        local digest = string.match(redis.call('GET', ARGV[2] .. id) or '', '^later (%S+)$')
        if digest then
            redis.call('SET', ARGV[2] .. id, KEYS[1] .. ' ' .. entry .. ' ' .. digest)
        end
    end
    redis.call('ZREM', KEYS[2], id)
    redis.call('HDEL', KEYS[3], id)
end
return #due
