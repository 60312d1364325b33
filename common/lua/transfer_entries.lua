-- transfer_entries: a page of a stream, oldest first.
-- KEYS[1] stream
-- ARGV[1] behind this entry ('' = from the first), ARGV[2] at most so many, ARGV[3] prefix of the markers, ARGV[4]
-- of the keys of large jobs, ARGV[5] bytes, behind which a page ends
-- Returns for each {entry, fields, digest of the marker that names it ('' = none), key of what is kept beside it
-- without its prefix ('' = nothing), bytes of that}.
local out = {}

local function value(fields, name)
    for k = 1, #fields, 2 do
        if fields[k] == name then
            return fields[k + 1]
        end
    end
end

-- A dead letter names its key; what is in a queue has it under its id.
local function beside(fields)
    local key = value(fields, 'blob')
    if not key then
        return value(fields, 'id') or ''
    end
    return string.sub(key, 1, #ARGV[4]) == ARGV[4] and string.sub(key, #ARGV[4] + 1) or ''
end

local function size(fields)
    local sum = 0
    for k = 1, #fields do
        sum = sum + #fields[k]
    end
    return sum
end

local function show(e)
    local id = value(e[2], 'id')
    local place, digest = string.match(id and redis.call('GET', ARGV[3] .. id) or '', '^(.*) (%S+)$')
    local name = value(e[2], 'len') and not value(e[2], 'job') and beside(e[2]) or ''
    local bytes = name ~= '' and redis.call('STRLEN', ARGV[4] .. name) or 0
    out[#out + 1] = {e[1], e[2], place == KEYS[1] .. ' ' .. e[1] and digest or '', name, bytes}
end

local from, left = ARGV[1] == '' and '-' or '(' .. ARGV[1], tonumber(ARGV[5])
while #out < tonumber(ARGV[2]) and left > 0 do
    local e = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1)[1]
    if not e then
        break
    end
    show(e)
    from, left = '(' .. e[1], left - size(e[2])
end
return out
