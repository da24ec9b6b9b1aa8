-- XComs and artifacts that go before their runs. NULL: what the server's settings say; 0: for ever.
ALTER TABLE dag_retention ADD COLUMN data_days BIGINT CHECK (data_days >= 0);

-- How far XComs and artifacts of a dag's runs were deleted, in the order in which the runs ended.
CREATE TABLE dag_data_deleted (
    dag_id   TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES dag (dag_id) ON DELETE CASCADE,
    end_date BIGINT NOT NULL, -- of the last run whose data is gone
    dag_run  BIGINT NOT NULL  -- its key
);
