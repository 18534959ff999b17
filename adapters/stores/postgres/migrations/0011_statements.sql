-- Runs what handlers recorded as statements, one after the other; gives back what it is called with, so that it stands
-- between the rows of a group and its end (rule C3). To the server it is one statement, which `statement_timeout` ends
-- (rule S3).
CREATE FUNCTION {keylane}.run_statements(p_held boolean[], p_statements text[]) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
    v_statement text;
BEGIN
    FOREACH v_statement IN ARRAY p_statements LOOP
        EXECUTE v_statement;
    END LOOP;
    RETURN p_held;
END $$;

-- That a sequence is there already is no news to the service's log.
ALTER FUNCTION {keylane}.ledger_write(text) SET client_min_messages = warning;
