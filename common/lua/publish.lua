-- publish: puts jobs on the stream, each at most once.
-- KEYS[1] stream, KEYS[2] later (zset), KEYS[3] later:jobs (hash), then n markers, one of each job, then n keys
-- of what was seen
-- ARGV[1] group, then per job: event id, payload, what is to be remembered as seen ('' = nothing), for how long (ms)
-- The marker says where a job is ("<stream> <entry>" or "later"). It is not trusted: the named place must
-- still hold the job, otherwise it is published again. What was seen before is left alone: it was remembered
-- together with its job, whose row answers for it since. Returns for each job 0: new, 1: seen before, 2: seen
-- before with another body, 3: nothing was to be remembered, and it was there.
local n = (#KEYS - 3) / 2
local was = {}

local function holds(marker, id)
    if marker == 'later' then
        return redis.call('ZSCORE', KEYS[2], id) ~= false
    end
    local stream, entry = string.match(marker, '^(%S+) (%S+)$')
    return stream == KEYS[1] and #redis.call('XRANGE', stream, entry, entry) == 1
end

local function add(at, id, payload)
    local marker = redis.call('GET', KEYS[at])
    if not marker or not holds(marker, id) then
        local entry = redis.call('XADD', KEYS[1], '*', 'id', id, 'job', payload)
        redis.call('SET', KEYS[at], KEYS[1] .. ' ' .. entry)
        return 0
    end
    return 3
end

for i = 1, n do
    local at = (i - 1) * 4 + 2
    local id, payload, seen, ttl = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local key = KEYS[3 + n + i]
    local before = seen ~= '' and redis.call('GET', key)
    if before then
        was[i] = before == seen and 1 or 2
    else
        was[i] = add(3 + i, id, payload)
        if seen ~= '' then
            redis.call('SET', key, seen, 'PX', ttl)
            was[i] = 0
        end
    end
end
return was
