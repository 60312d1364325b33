-- transfer_later: a page of the jobs that wait for their time.
-- KEYS[1] later (zset), KEYS[2] later:jobs (hash)
-- ARGV[1] cursor, ARGV[2] how many to look at, ARGV[3] prefix of the markers, ARGV[4] of the keys of large jobs
-- It goes by the hash, which gives what it is asked for, where a short zset gives all. A job that later does not
-- name is due now, unless its marker says that it is done, or elsewhere: nothing else has it. An id without a job
-- is passed over: so does promote. Returns {next cursor, then event id, due (ms), job, digest of the marker
-- ('' = none), bytes that are kept beside it, ...}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local page = redis.call('HSCAN', KEYS[2], ARGV[1], 'COUNT', ARGV[2])
local out = {page[1]}
for i = 1, #page[2], 2 do
    local id, job = page[2][i], page[2][i + 1]
    local due, marker = redis.call('ZSCORE', KEYS[1], id), redis.call('GET', ARGV[3] .. id)
    if due or not marker or string.find(marker, '^later') then
        out[#out + 1] = id
        out[#out + 1] = string.format('%.0f', tonumber(due or now))
        out[#out + 1] = job
        out[#out + 1] = string.match(marker or '', '^later (%S+)$') or ''
        out[#out + 1] = redis.call('STRLEN', ARGV[4] .. id)
    end
end
return out
