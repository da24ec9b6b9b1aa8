//! What can go wrong with object storage, by what the caller can do about it.

use std::path::PathBuf;

/// Why object storage did not do what it was asked. An object that is not there is `None`, not an error.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The storage's address is wrong: the installation must be changed.
    #[error(
        "`{url}` is not a storage url: {why}; write it as `file:///path`, `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`"
    )]
    Url { url: String, why: String },
    /// Its folder is not there and can't be made.
    #[error("the folder `{}` can't be made", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Not reachable, out of space, too slow: the same call may work later.
    #[error("object storage can't be used right now")]
    Unavailable(#[source] object_store::Error),
    /// The credentials are missing, wrong, or do not suffice.
    #[error(
        "object storage refused airlock's credentials; check the variables AWS_*, AZURE_* or GOOGLE_* of the server"
    )]
    Denied(#[source] object_store::Error),
    /// The key or the request is wrong: a bug.
    #[error("object storage refused the request")]
    Refused(#[source] object_store::Error),
}

impl BlobError {
    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Url { .. } | Self::Folder { .. } | Self::Denied(_) | Self::Refused(_) => false,
        }
    }
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error;
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Denied(error),
            Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::AlreadyExists { .. }
            | Error::Precondition { .. }
            | Error::NotModified { .. }
            | Error::UnknownConfigurationKey { .. } => Self::Refused(error),
            // `Generic` is what a timeout, a full disk and an HTTP 5xx are.
            other => Self::Unavailable(other),
        }
    }
}
