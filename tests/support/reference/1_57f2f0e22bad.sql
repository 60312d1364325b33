-- The replaced service's database, revision by revision (reference contract section 3.2): load files 1 to N
-- in order for revision N. This one: the metrics tables, still in schema public.
CREATE TABLE public.alembic_version (
    version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
);
CREATE TABLE public.request_metrics (
    id uuid PRIMARY KEY,
    "timestamp" timestamptz NOT NULL,
    method varchar(10) NOT NULL,
    path varchar(500) NOT NULL,
    status_code integer NOT NULL,
    duration_ms float8 NOT NULL,
    request_id varchar(100),
    client_ip varchar(50),
    user_agent varchar(500),
    extra_metadata jsonb,
    created_at timestamptz NOT NULL
);
CREATE TABLE public.operation_metrics (
    id uuid PRIMARY KEY,
    "timestamp" timestamptz NOT NULL,
    operation_type varchar(50) NOT NULL,
    operation_name varchar(100) NOT NULL,
    duration_ms float8 NOT NULL,
    success boolean NOT NULL,
    error_message text,
    request_id varchar(100),
    job_id varchar(100),
    document_url varchar(500),
    extra_metadata jsonb,
    created_at timestamptz NOT NULL
);
DO $$
DECLARE
    col text;
BEGIN
    FOREACH col IN ARRAY '{timestamp,method,path,status_code,duration_ms,request_id}'::text[] LOOP
        EXECUTE format('CREATE INDEX %I ON public.request_metrics (%I)', 'ix_request_metrics_' || col, col);
    END LOOP;
    FOREACH col IN ARRAY
        '{timestamp,operation_type,operation_name,duration_ms,success,request_id,job_id,document_url}'::text[]
    LOOP
        EXECUTE format('CREATE INDEX %I ON public.operation_metrics (%I)', 'ix_operation_metrics_' || col, col);
    END LOOP;
END
$$;
INSERT INTO public.alembic_version VALUES ('57f2f0e22bad');
