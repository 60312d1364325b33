-- crawl_ack: crawl jobs that are done leave the stream, with what was kept beside it; that they were there is
-- remembered for a while.
-- KEYS[1] stream, then n markers, one of each job, then n keys of large jobs
-- ARGV[1] group, ARGV[2] how long to remember (ms), then the stream entry of each job
-- A marker that names another place by now belongs to a job put back, which still needs what is beside it.
local n = #ARGV - 2
local acked = 0
for i = 1, n do
    local entry, marker = ARGV[i + 2], redis.call('GET', KEYS[i + 1])
    local place, digest = string.match(marker or '', '^(.*) (%S+)$')
    if not place or place == KEYS[1] .. ' ' .. entry then
        if place then
            redis.call('SET', KEYS[i + 1], 'done ' .. digest, 'PX', ARGV[2])
        end
        redis.call('DEL', KEYS[i + 1 + n])
    end
    if entry ~= '' then
        redis.call('XACK', KEYS[1], ARGV[1], entry)
        acked = acked + redis.call('XDEL', KEYS[1], entry)
    end
end
return acked
