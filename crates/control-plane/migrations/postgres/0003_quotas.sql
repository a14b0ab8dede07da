-- How much somebody may have; the owner is a user, or the organisation for all of them together. Null: as much as there
-- is room for.
CREATE TABLE quotas (
    owner_id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    workspaces BIGINT,
    logical_bytes BIGINT,
    stored_bytes BIGINT,
    changed_ms BIGINT NOT NULL
);
