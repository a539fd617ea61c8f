-- The database and the roles of gatepost, with the least privileges. Run once, as a superuser of the primary:
--
--     psql --set=ON_ERROR_STOP=1 --file=roles.sql postgres
--
-- gatepost        reads and changes rows; it can make, change or drop no table. Two functions of gatepost_admin make and drop
--                 the days of the message trace for it. For [store] url of every node.
-- gatepost_worker changes what belongs to mail on its way, and neither reads nor changes configuration, accounts and tokens. For
--                 [store] worker_url of every node, if you want that. `gatepost store prepare` gives it its rights.
-- gatepost_admin  owns the tables. For `gatepost store prepare`, before the first start and before each upgrade.
--
-- Give each a password (\password gatepost), or client certificates or peer in pg_hba.conf. No node needs a superuser.

CREATE ROLE gatepost_admin LOGIN;
CREATE ROLE gatepost LOGIN;
CREATE ROLE gatepost_worker LOGIN;
CREATE DATABASE gatepost OWNER gatepost_admin ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE gatepost FROM PUBLIC;
GRANT CONNECT ON DATABASE gatepost TO gatepost, gatepost_worker;

\connect gatepost

REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA gatepost AUTHORIZATION gatepost_admin;
GRANT USAGE ON SCHEMA gatepost TO gatepost, gatepost_worker;
ALTER ROLE gatepost_admin IN DATABASE gatepost SET search_path = gatepost;
ALTER ROLE gatepost IN DATABASE gatepost SET search_path = gatepost;
ALTER ROLE gatepost_worker IN DATABASE gatepost SET search_path = gatepost;

-- What gatepost_admin makes from now on. Not for gatepost_worker, whose rights are listed table by table.
ALTER DEFAULT PRIVILEGES FOR ROLE gatepost_admin IN SCHEMA gatepost
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO gatepost;
ALTER DEFAULT PRIVILEGES FOR ROLE gatepost_admin IN SCHEMA gatepost
    GRANT USAGE, SELECT ON SEQUENCES TO gatepost;
ALTER DEFAULT PRIVILEGES FOR ROLE gatepost_admin IN SCHEMA gatepost
    GRANT EXECUTE ON FUNCTIONS TO gatepost;
