-- crawl_requeue: crawl jobs in hand go back to the queue, now or later, as they are.
-- KEYS[1] stream, KEYS[2] later (zset), KEYS[3] later:jobs (hash), KEYS[4..] marker of each job
-- ARGV[1] group, then per job: event id, stream entry in hand, delay in ms (0 = now)
-- An entry that is gone, or that the marker does not name, moves nothing: the job is elsewhere, or done. In
-- later:jobs stand the entry's fields (MessagePack). Returns how many were moved.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local moved = 0

local function put(id, fields, delay)
    if delay == 0 then
        return KEYS[1] .. ' ' .. redis.call('XADD', KEYS[1], '*', unpack(fields))
    end
    redis.call('ZADD', KEYS[2], now + delay, id)
    redis.call('HSET', KEYS[3], id, cmsgpack.pack(fields))
    return 'later'
end

for i = 4, #KEYS do
    local at = (i - 4) * 3 + 2
    local id, hand, delay = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    local found = hand ~= '' and redis.call('XRANGE', KEYS[1], hand, hand) or {}
    local marker = redis.call('GET', KEYS[i])
    local place, digest = string.match(marker or '', '^(.*) (%S+)$')
    if #found == 1 then
        if not place or place == KEYS[1] .. ' ' .. hand then
            local now_at = put(id, found[1][2], delay)
            if place then
                redis.call('SET', KEYS[i], now_at .. ' ' .. digest)
            end
            moved = moved + 1
        end
        redis.call('XACK', KEYS[1], ARGV[1], hand)
        redis.call('XDEL', KEYS[1], hand)
    end
end
return moved
