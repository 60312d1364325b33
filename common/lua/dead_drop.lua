-- dead_drop: dead letters go for good, with what was kept beside them.
-- KEYS[1] dead; ARGV[1] prefix of the keys of large jobs (same hash tag), ARGV[2..] the letters
-- Returns how many there were.
local dropped = 0
for i = 2, #ARGV do
    local found = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])
    if #found == 1 then
        local fields = found[1][2]
        for k = 1, #fields, 2 do
            if fields[k] == 'blob' and string.sub(fields[k + 1], 1, #ARGV[1]) == ARGV[1] then
                redis.call('UNLINK', fields[k + 1])
            end
        end
        dropped = dropped + redis.call('XDEL', KEYS[1], ARGV[i])
    end
end
return dropped
