-- Runs what the group's handlers recorded as statements, one after the other, between its rows and its end (rule C3);
-- gives back what it is called with, so that neither is before its time. S3: all of them together take no longer than
-- the writes of one transaction may, as far as that is seen between two; `statement_timeout` ends any that does not end.
CREATE FUNCTION {keylane}.run_statements(
    p_held boolean[], p_lifetime_us bigint, p_limit_us bigint, p_statements text[]
) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
    v_end CONSTANT timestamptz :=
        clock_timestamp() + LEAST(p_lifetime_us * 3 / 10, p_limit_us) * interval '1 microsecond';
    v_statement text;
BEGIN
    FOREACH v_statement IN ARRAY p_statements LOOP
        EXECUTE v_statement;
        IF clock_timestamp() > v_end THEN
            RAISE EXCEPTION USING ERRCODE = 'KL005', MESSAGE = 'recorded writes took too long together';
        END IF;
    END LOOP;
    RETURN p_held;
END $$;
