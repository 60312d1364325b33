-- Work that one process of the whole fleet does at a time, and how long ago it was done. Nothing
-- breaks when two do it at once: it would only be done twice.
CREATE TABLE IF NOT EXISTS webhook.duties (
    name       text        NOT NULL, -- 'retention'
    holder     text,                 -- who is at it; NULL = nobody
    held_until timestamptz,          -- beyond it the holder is taken for dead
    done_at    timestamptz,          -- when it was last brought to an end
    CONSTRAINT duties_pkey PRIMARY KEY (name)
) WITH (fillfactor = 20);
