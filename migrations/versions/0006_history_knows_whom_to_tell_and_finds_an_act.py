"""History knows whether a customer is to be told of a change, and finds all that one act changed.

Why: the desk says with each act whether its customer hears of it; messages are made from that later. One act over many
bookings leaves many events of one request, which are shown, and undone, together. The index names requests only, and
a seeded business has none; the running version survives this: it leaves the new column empty.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

FORWARD = """
ALTER TABLE events ADD COLUMN tells_customer boolean;
CREATE INDEX events_by_request ON events (request_id, id) WHERE request_id IS NOT NULL;
CREATE OR REPLACE FUNCTION booking_lets_go_of_holds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  over bigint[] := ARRAY(
    SELECT b.id FROM public.bookings b
     WHERE b.resource_id = NEW.resource_id AND b.lane = NEW.lane AND b.id <> NEW.id
       AND b.status = 'pending' AND b.expires_at <= public.the_moment()
       AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(NEW.blocks_from, NEW.blocks_until));
  actor_id text := current_setting('bookit.actor_id', true);
  actor text := current_setting('bookit.actor', true);
  door text := current_setting('bookit.door', true);
  reason text := current_setting('bookit.reason', true);
  tells text := current_setting('bookit.tells_customer', true);
BEGIN
  IF cardinality(over) > 0 THEN
    PERFORM set_config('bookit.actor_id', '', true), set_config('bookit.actor', 'nobody', true),
            set_config('bookit.door', 'clock', true), set_config('bookit.reason', 'The hold ran out.', true),
            set_config('bookit.tells_customer', '', true);
    UPDATE public.bookings SET status = 'cancelled' WHERE id = ANY (over);
    PERFORM set_config('bookit.actor_id', coalesce(actor_id, ''), true),
            set_config('bookit.actor', coalesce(actor, ''), true),
            set_config('bookit.door', coalesce(door, ''), true),
            set_config('bookit.reason', coalesce(reason, ''), true),
            set_config('bookit.tells_customer', coalesce(tells, ''), true);
  END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION row_is_remembered() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
  after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
  row_id bigint := coalesce(after, before) ->> 'id';
  secret text;
BEGIN
  IF TG_NARGS > 0 THEN
    FOREACH secret IN ARRAY TG_ARGV LOOP
      IF before -> secret IS DISTINCT FROM after -> secret AND TG_OP = 'UPDATE' THEN
        after := after || jsonb_build_object(secret, 'changed');
        before := before || jsonb_build_object(secret, 'hidden');
      ELSE
        before := before - secret;
        after := after - secret;
      END IF;
    END LOOP;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    SELECT jsonb_object_agg(key, o.value), jsonb_object_agg(key, n.value) INTO before, after
      FROM jsonb_each(before) o JOIN jsonb_each(after) n USING (key)
     WHERE o.value IS DISTINCT FROM n.value AND key <> 'version';
    IF after IS NULL THEN
      RETURN NULL;
    END IF;
  END IF;
  INSERT INTO public.events (actor_id, actor, door, table_name, row_id, action, old, new, reason, request_id, tells_customer)
  VALUES (
    nullif(current_setting('bookit.actor_id', true), '')::bigint,
    coalesce(nullif(current_setting('bookit.actor', true), ''), 'unknown'),
    coalesce(nullif(current_setting('bookit.door', true), ''), 'sql'),
    TG_TABLE_NAME, row_id,
    CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END,
    before, after,
    nullif(current_setting('bookit.reason', true), ''),
    nullif(current_setting('bookit.request_id', true), ''),
    nullif(current_setting('bookit.tells_customer', true), '')::boolean);
  RETURN NULL;
END $$;
"""
BACK = """
CREATE OR REPLACE FUNCTION booking_lets_go_of_holds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  over bigint[] := ARRAY(
    SELECT b.id FROM public.bookings b
     WHERE b.resource_id = NEW.resource_id AND b.lane = NEW.lane AND b.id <> NEW.id
       AND b.status = 'pending' AND b.expires_at <= public.the_moment()
       AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(NEW.blocks_from, NEW.blocks_until));
  actor_id text := current_setting('bookit.actor_id', true);
  actor text := current_setting('bookit.actor', true);
  door text := current_setting('bookit.door', true);
  reason text := current_setting('bookit.reason', true);
BEGIN
  IF cardinality(over) > 0 THEN
    PERFORM set_config('bookit.actor_id', '', true), set_config('bookit.actor', 'nobody', true),
            set_config('bookit.door', 'clock', true), set_config('bookit.reason', 'The hold ran out.', true);
    UPDATE public.bookings SET status = 'cancelled' WHERE id = ANY (over);
    PERFORM set_config('bookit.actor_id', coalesce(actor_id, ''), true),
            set_config('bookit.actor', coalesce(actor, ''), true),
            set_config('bookit.door', coalesce(door, ''), true),
            set_config('bookit.reason', coalesce(reason, ''), true);
  END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION row_is_remembered() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
  after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
  row_id bigint := coalesce(after, before) ->> 'id';
  secret text;
BEGIN
  IF TG_NARGS > 0 THEN
    FOREACH secret IN ARRAY TG_ARGV LOOP
      IF before -> secret IS DISTINCT FROM after -> secret AND TG_OP = 'UPDATE' THEN
        after := after || jsonb_build_object(secret, 'changed');
        before := before || jsonb_build_object(secret, 'hidden');
      ELSE
        before := before - secret;
        after := after - secret;
      END IF;
    END LOOP;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    SELECT jsonb_object_agg(key, o.value), jsonb_object_agg(key, n.value) INTO before, after
      FROM jsonb_each(before) o JOIN jsonb_each(after) n USING (key)
     WHERE o.value IS DISTINCT FROM n.value AND key <> 'version';
    IF after IS NULL THEN
      RETURN NULL;
    END IF;
  END IF;
  INSERT INTO public.events (actor_id, actor, door, table_name, row_id, action, old, new, reason, request_id)
  VALUES (
    nullif(current_setting('bookit.actor_id', true), '')::bigint,
    coalesce(nullif(current_setting('bookit.actor', true), ''), 'unknown'),
    coalesce(nullif(current_setting('bookit.door', true), ''), 'sql'),
    TG_TABLE_NAME, row_id,
    CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END,
    before, after,
    nullif(current_setting('bookit.reason', true), ''),
    nullif(current_setting('bookit.request_id', true), ''));
  RETURN NULL;
END $$;
DROP INDEX events_by_request;
ALTER TABLE events DROP COLUMN tells_customer;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(FORWARD)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(BACK)
