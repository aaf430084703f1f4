"""Time zones are names of the time-zone database, in its own spelling.

Why: PostgreSQL also takes abbreviations, rules and any case, which Python reads otherwise or not at all: a resource in
"CET" had no summer time in PostgreSQL. Resources that have such a name get the name of the place that it stands for.

The running version survives it: it writes such names seldom, and is refused where it does.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

KNOWN = r"""
CREATE OR REPLACE FUNCTION timezone_is_known(zone text) RETURNS boolean LANGUAGE plpgsql SET timezone = 'UTC' AS $$
BEGIN
  IF zone !~ '^(UTC|US/.*[a-z].*|(Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Brazil|Canada)/.+'
          '|(Chile|Etc|Europe|Indian|Mexico|Pacific)/.+)$' THEN
    RETURN false;
  END IF;
  PERFORM set_config('timezone', zone, true);
  RETURN current_setting('timezone') = zone;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN false;
END $$;
"""
KNOWN_BEFORE = r"""
CREATE OR REPLACE FUNCTION timezone_is_known(zone text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM now() AT TIME ZONE zone;
  RETURN true;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN false;
END $$;
"""
TRANSLATE = """
UPDATE resources SET timezone = place FROM (VALUES
    ('CET', 'Europe/Brussels'), ('CST6CDT', 'America/Chicago'), ('Cuba', 'America/Havana'), ('EET', 'Europe/Athens'),
    ('EST', 'America/Panama'), ('EST5EDT', 'America/New_York'), ('Egypt', 'Africa/Cairo'), ('Eire', 'Europe/Dublin'),
    ('GB', 'Europe/London'), ('GB-Eire', 'Europe/London'), ('GMT', 'UTC'), ('GMT+0', 'UTC'), ('GMT-0', 'UTC'),
    ('GMT0', 'UTC'), ('Greenwich', 'UTC'), ('HST', 'Pacific/Honolulu'), ('Hongkong', 'Asia/Hong_Kong'),
    ('Iceland', 'Atlantic/Reykjavik'), ('Iran', 'Asia/Tehran'), ('Israel', 'Asia/Jerusalem'),
    ('Jamaica', 'America/Jamaica'), ('Japan', 'Asia/Tokyo'), ('Kwajalein', 'Pacific/Kwajalein'),
    ('Libya', 'Africa/Tripoli'), ('MET', 'Europe/Brussels'), ('MST', 'America/Phoenix'),
    ('MST7MDT', 'America/Denver'), ('NZ', 'Pacific/Auckland'), ('NZ-CHAT', 'Pacific/Chatham'),
    ('Navajo', 'America/Denver'), ('PRC', 'Asia/Shanghai'), ('PST8PDT', 'America/Los_Angeles'),
    ('Poland', 'Europe/Warsaw'), ('Portugal', 'Europe/Lisbon'), ('ROC', 'Asia/Taipei'), ('ROK', 'Asia/Seoul'),
    ('Singapore', 'Asia/Singapore'), ('Turkey', 'Europe/Istanbul'), ('UCT', 'UTC'), ('Universal', 'UTC'),
    ('W-SU', 'Europe/Moscow'), ('WET', 'Europe/Lisbon'), ('Zulu', 'UTC')
  ) AS old (abbreviation, place) WHERE lower(timezone) = lower(abbreviation);
UPDATE resources SET timezone = zone.name FROM pg_timezone_names AS zone
 WHERE lower(timezone) = lower(zone.name) AND timezone <> zone.name AND timezone_is_known(zone.name);
"""


def upgrade() -> None:
    for script in (KNOWN, TRANSLATE):
        op.execute(script)


def downgrade() -> None:
    op.execute(KNOWN_BEFORE)
