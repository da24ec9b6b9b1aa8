-- Dags that users marked for themselves, to find them quickly. Airflow: dag_favorite.
CREATE TABLE dag_favorite (
    username TEXT COLLATE "C" NOT NULL REFERENCES airlock_user (username) ON DELETE CASCADE,
    dag_id   TEXT COLLATE "C" NOT NULL REFERENCES dag (dag_id) ON DELETE CASCADE,
    PRIMARY KEY (username, dag_id)
);
CREATE INDEX dag_favorite_by_dag ON dag_favorite (dag_id);
