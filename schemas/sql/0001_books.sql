-- The fact log, ticks, and the books of the usage log.
-- after: SELECT count(*) = 0 FROM fact

CREATE TABLE fact (
    serial      bigint PRIMARY KEY CHECK (serial > 0),
    id          text NOT NULL UNIQUE,
    kind        text NOT NULL,
    subject     text NOT NULL,
    body        text NOT NULL,          -- canonical JSON: the bytes are what is mirrored
    actor       text NOT NULL,
    reason      text NOT NULL,
    recorded_at timestamptz NOT NULL
);

-- One row. Its lock hands serials out, so that no lower one commits later.
CREATE TABLE fact_head (
    serial   bigint NOT NULL,
    mirrored bigint NOT NULL DEFAULT 0  -- highest serial acked by billing.facts
);
INSERT INTO fact_head (serial) VALUES (0);

-- Personal values behind the commitments that facts carry; erasable.
CREATE TABLE personal (
    commitment text PRIMARY KEY,
    subject    text NOT NULL,
    salt       bytea NOT NULL,
    value      text NOT NULL
);

CREATE TABLE tick (
    serial        bigint PRIMARY KEY CHECK (serial > 0),
    time_us       bigint NOT NULL UNIQUE,
    fact_position bigint NOT NULL,
    partitions    integer NOT NULL,
    acked         boolean NOT NULL DEFAULT false
);
CREATE INDEX tick_unacked ON tick (serial) WHERE NOT acked;

-- Where each partition's books stand. Written in the transaction that writes the books.
CREATE TABLE cursor (
    partition_no    integer PRIMARY KEY,
    source_offset   bigint NOT NULL,
    metered_offset  bigint NOT NULL,
    tick_serial     bigint NOT NULL,
    tick_time_us    bigint NOT NULL,
    fact_position   bigint NOT NULL,
    log_time_us     bigint NOT NULL,
    topic_id        text NOT NULL,      -- of the usage log: a recreated topic is noticed
    metered_digest  bytea NOT NULL,     -- of the last metered record: a truncated one too
    offered         bigint NOT NULL,
    fresh           bigint NOT NULL,
    duplicate       bigint NOT NULL,
    conflict        bigint NOT NULL,
    late            bigint NOT NULL,
    rejected        bigint NOT NULL
) WITH (fillfactor = 50);

-- Where each tick stands in each partition, and the counts up to it: cuts, evidence and
-- the starts of claim generations are found here.
CREATE TABLE partition_tick (
    partition_no  integer NOT NULL,
    serial        bigint NOT NULL,
    time_us       bigint NOT NULL,
    fact_position bigint NOT NULL,
    source_offset bigint NOT NULL,
    counts        bigint[] NOT NULL,    -- offered, fresh, duplicate, conflict, late, rejected
    PRIMARY KEY (partition_no, serial)
);

CREATE TABLE sequence_state (
    partition_no integer NOT NULL,
    producer     text NOT NULL,
    epoch        text NOT NULL,
    next         bigint NOT NULL,
    ended        boolean NOT NULL,
    gaps         bigint[] NOT NULL,     -- from, to, from, to, ...
    recent       bytea NOT NULL,        -- first (8), count (4), digest (16), ...
    PRIMARY KEY (partition_no, producer, epoch)
);

CREATE TABLE series (
    id         bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    customer   text NOT NULL,
    meter      text NOT NULL,
    scale      smallint NOT NULL,
    dimensions text NOT NULL,           -- canonical JSON
    UNIQUE (customer, meter, scale, dimensions)
);

-- Usage by series, window and cut: `cut` is the serial of the customer's latest cut before
-- the record (0: none), so a document cut at S folds all rows of its windows with cut < S.
-- sum, minimum and maximum are mantissas at the scale of the series.
CREATE TABLE usage (
    series_id    bigint NOT NULL,
    window_us    bigint NOT NULL,
    cut          bigint NOT NULL,
    count        bigint NOT NULL,
    sum          numeric NOT NULL,
    minimum      numeric NOT NULL,
    maximum      numeric NOT NULL,
    PRIMARY KEY (series_id, window_us, cut)
) WITH (fillfactor = 70);

CREATE TABLE cut (
    payer        text NOT NULL,
    currency     text NOT NULL,
    instant_us   bigint NOT NULL,
    serial       bigint NOT NULL,
    partition_no integer NOT NULL,
    prepared     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (payer, currency, instant_us)
);
CREATE INDEX cut_to_prepare ON cut (serial) WHERE NOT prepared;
CREATE INDEX cut_by_partition ON cut (partition_no);

-- Payers whose drafts must be rated anew; `version` tells a mark made meanwhile from the old.
CREATE TABLE dirty (
    payer        text PRIMARY KEY,
    partition_no integer NOT NULL,
    version      bigint NOT NULL
);
CREATE INDEX dirty_by_partition ON dirty (partition_no);

-- A draft's revision is its position: the source offset of its partition it was rated at.
CREATE TABLE draft (
    payer         text NOT NULL,
    currency      text NOT NULL,
    instant_us    bigint NOT NULL,
    partition_no  integer NOT NULL,
    source_offset bigint NOT NULL,
    log_time_us   bigint NOT NULL,
    content       text NOT NULL,
    rated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (payer, currency, instant_us)
) WITH (fillfactor = 50);
