-- publish: puts jobs on the stream, each at most once.
-- KEYS[1] stream, KEYS[2] later (zset), KEYS[3] later:jobs (hash), KEYS[4..] marker of each job
-- ARGV[1] group, then per job: event id, payload
-- The marker says where a job is ("<stream> <entry>" or "later"). It is not trusted: the named place must
-- still hold the job, otherwise it is published again. Returns how many were added.
local added = 0

local function holds(marker, id)
    if marker == 'later' then
        return redis.call('ZSCORE', KEYS[2], id) ~= false
    end
    local stream, entry = string.match(marker, '^(%S+) (%S+)$')
    return stream == KEYS[1] and #redis.call('XRANGE', stream, entry, entry) == 1
end

for i = 4, #KEYS do
    local id, payload = ARGV[(i - 4) * 2 + 2], ARGV[(i - 4) * 2 + 3]
    local marker = redis.call('GET', KEYS[i])
    if not marker or not holds(marker, id) then
        local entry = redis.call('XADD', KEYS[1], '*', 'id', id, 'job', payload)
        redis.call('SET', KEYS[i], KEYS[1] .. ' ' .. entry)
        added = added + 1
    end
end
return added
