-- Everything that Roost knows. Times are milliseconds since 1970, ids and JSON are text; every row has its
-- organisation and its owner. The same tables are in migrations/sqlite.

CREATE TABLE organizations (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

-- owner_id is the user's own id.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    owner_id TEXT NOT NULL,
    email TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    password_hash TEXT,
    git_name TEXT NOT NULL,
    git_email TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

-- One-time links. For the first administrator there is no user yet: the owner is the organisation.
CREATE TABLE links (
    token_hash TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    owner_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash TEXT NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL,
    used_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    used_ms BIGINT
);

-- The secret is sealed with a key that is not in this database.
CREATE TABLE git_credentials (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    authority TEXT NOT NULL,
    path_prefix TEXT NOT NULL,
    username TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    created_ms BIGINT NOT NULL,
    used_ms BIGINT,
    UNIQUE (owner_id, authority, path_prefix)
);

CREATE TABLE settings (
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    version BIGINT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (owner_id, name)
);

CREATE TABLE workspaces (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    owner_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL UNIQUE,
    generation BIGINT NOT NULL,
    state_name TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL,
    host_id TEXT,
    observed TEXT,
    repository TEXT,
    vcpus BIGINT NOT NULL,
    memory_mib BIGINT NOT NULL,
    disk_gib BIGINT NOT NULL,
    labels TEXT NOT NULL,
    tags TEXT NOT NULL,
    report TEXT,
    report_ms BIGINT,
    needs_credentials TEXT,
    created_ms BIGINT NOT NULL,
    changed_ms BIGINT NOT NULL,
    used_ms BIGINT
);
CREATE INDEX workspaces_by_owner ON workspaces (owner_id);

-- Names are parts of host names, where browsers keep what an old workspace left: never used again by another.
CREATE TABLE workspace_names (
    name TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    owner_id TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE starts (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    epoch BIGINT NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    owner_id TEXT NOT NULL,
    began_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    outcome TEXT NOT NULL,
    failure TEXT,
    PRIMARY KEY (workspace_id, epoch)
);

CREATE TABLE start_steps (
    workspace_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    step TEXT NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    owner_id TEXT NOT NULL,
    began_ms BIGINT NOT NULL,
    took_ms BIGINT,
    percent BIGINT,
    detail TEXT NOT NULL,
    failure TEXT,
    log TEXT NOT NULL,
    PRIMARY KEY (workspace_id, epoch, step),
    FOREIGN KEY (workspace_id, epoch) REFERENCES starts (workspace_id, epoch) ON DELETE CASCADE
);

CREATE TABLE idempotency_keys (
    owner_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    request_hash TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (owner_id, key)
);

-- Who did what, when. The owner is who did it. Rows are only ever added.
CREATE TABLE audit (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END;
$$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
