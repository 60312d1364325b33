-- transfer_later: a page of the jobs that wait for their time.
-- KEYS[1] later (zset), KEYS[2] later:jobs (hash)
-- ARGV[1] cursor, ARGV[2] how many to look at, ARGV[3] prefix of the markers, ARGV[4] of the keys of large jobs
-- An id without a job is passed over: so does promote. Returns {next cursor, then event id, due (ms), job, digest
-- of the marker ('' = none), bytes that are kept beside it, ...}.
local page = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local out = {page[1]}
for i = 1, #page[2], 2 do
    local id = page[2][i]
    local job = redis.call('HGET', KEYS[2], id)
    if job then
        out[#out + 1] = id
        out[#out + 1] = string.format('%.0f', tonumber(page[2][i + 1]))
        out[#out + 1] = job
        out[#out + 1] = string.match(redis.call('GET', ARGV[3] .. id) or '', '^later (%S+)$') or ''
        out[#out + 1] = redis.call('STRLEN', ARGV[4] .. id)
    end
end
return out
