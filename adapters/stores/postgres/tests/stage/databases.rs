//! Databases of their own on the test server.

use keylane::Env;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// Empty databases, each with a table for what handlers write.
pub(crate) struct Databases {
    pub(crate) env: Env,
    server: String,
    pub(crate) names: Vec<String>,
}

impl Databases {
    pub(crate) async fn new(server: &str, count: usize) -> Self {
        let env = Env::tokio();
        let names: Vec<String> = (0..count).map(|_| format!("test_{}", env.uuid().simple())).collect();
        let databases = Self { env, server: server.to_owned(), names };
        let mut connection = PgConnection::connect(server).await.unwrap();
        for (at, name) in databases.names.iter().enumerate() {
            connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
            databases.run(at, "CREATE TABLE written (place bigserial, key text, number int)").await;
        }
        databases
    }

    pub(crate) fn url(&self, at: usize) -> String {
        let (head, _) = self.server.rsplit_once('/').unwrap();
        format!("{head}/{}", self.names[at])
    }

    pub(crate) async fn run(&self, at: usize, sql: &'static str) {
        PgConnection::connect(&self.url(at)).await.unwrap().execute(sql).await.unwrap();
    }

    /// Keys and numbers in the order of writing.
    pub(crate) async fn written(&self, at: usize) -> Vec<(String, i32)> {
        let mut connection = PgConnection::connect(&self.url(at)).await.unwrap();
        let rows = sqlx::query_as("SELECT key, number FROM written ORDER BY place");
        rows.fetch_all(&mut connection).await.unwrap()
    }
}

impl Drop for Databases {
    /// On a thread of its own: a drop can't await.
    fn drop(&mut self) {
        let (server, names) = (self.server.clone(), self.names.clone());
        let drop = async move {
            let mut connection = PgConnection::connect(&server).await?;
            for name in names {
                connection.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await?;
            }
            Ok::<_, sqlx::Error>(())
        };
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dropped = std::thread::spawn(move || runtime().block_on(drop)).join();
        if !matches!(dropped, Ok(Ok(()))) {
            println!("databases stay behind: {:?}: {dropped:?}", self.names);
        }
    }
}
