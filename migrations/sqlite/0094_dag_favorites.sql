-- Dags that users marked for themselves, to find them quickly. Airflow: dag_favorite.
CREATE TABLE dag_favorite (
    username TEXT    NOT NULL REFERENCES airlock_user (username) ON DELETE CASCADE,
    dag_id   TEXT    NOT NULL REFERENCES dag (dag_id) ON DELETE CASCADE,
    PRIMARY KEY (username, dag_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dag_favorite_by_dag ON dag_favorite (dag_id);
