-- What a forked workspace's disk begins with, JSON; null for one that begins with the base image.
ALTER TABLE workspaces ADD COLUMN origin TEXT;
