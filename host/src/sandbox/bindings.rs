//! `wit/task.wit` as Rust.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "airlock:task/task",
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "airlock:task/artifacts.writer": super::imports::artifacts::Writer,
        "airlock:task/artifacts.reader": super::imports::artifacts::Reader,
        "airlock:task/objects.reader": super::imports::objects::Download,
        "airlock:task/objects.writer": super::imports::objects::Upload,
        "airlock:task/sql.session": super::imports::sql::OpenSession,
        "airlock:task/sql.rows": super::imports::sql::OpenRows,
    },
});
