-- crawl_publish: puts crawl jobs on their stream, each at most once, and says what was there before.
-- KEYS[1] stream, KEYS[2] later (zset), then n markers, one of each job, then n keys for large jobs
-- ARGV[1] group, ARGV[2] jobs of more bytes are kept beside the stream, then per job: event id, digest of the
-- body, payload
-- A marker is "<place> <digest>"; the place is "<stream> <entry>", "later" or "done". It is not trusted: unless
-- the job is done, the named place must still hold it. Returns for each job 0: new, 1: it is or was there, 2: so
-- is another body under this id; nothing was done. What was asked for has a digest of zeros: it is the same event
-- as the one that was sent, in other words.
local n = (#KEYS - 2) / 2
local asked = string.rep('0', 64)
local was = {}

local function holds(place, id)
    if place == 'done' then
        return true
    end
    if place == 'later' then
        return redis.call('ZSCORE', KEYS[2], id) ~= false
    end
    local stream, entry = string.match(place, '^(%S+) (%S+)$')
    return stream == KEYS[1] and #redis.call('XRANGE', stream, entry, entry) == 1
end

local function add(id, payload, beside)
    if #payload <= tonumber(ARGV[2]) then
        return redis.call('XADD', KEYS[1], '*', 'id', id, 'job', payload)
    end
    redis.call('SET', beside, payload)
    return redis.call('XADD', KEYS[1], '*', 'id', id, 'len', #payload)
end

for i = 1, n do
    local at = i * 3
    local id, digest, payload = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local marker = redis.call('GET', KEYS[2 + i])
    local place, before = string.match(marker or '', '^(.*) (%S+)$')
    if place and holds(place, id) then
        was[i] = (before == digest or before == asked or digest == asked) and 1 or 2
    else
        local entry = add(id, payload, KEYS[2 + n + i])
        redis.call('SET', KEYS[2 + i], KEYS[1] .. ' ' .. entry .. ' ' .. digest)
        was[i] = 0
    end
end
return was
