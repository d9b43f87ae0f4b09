//! Where a map lies: its name, and the directory that the name is in.

use std::ffi::CString;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::driver::identity::{identify, Identity};
use crate::sys::{Calls, Descriptor, Errno, Error};

pub struct Place {
    /// As the caller gave it, for words.
    pub name: String,
    /// From the root: it leads there also when the program has changed its directory.
    pub path: CString,
    directory: CString,
}

impl Place {
    pub fn of(path: &Path) -> Result<Place, Error> {
        let name = path.to_string_lossy().into_owned();
        let absolute = std::path::absolute(path).map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
            Error::new(errno, format!("{name}: cannot tell in which directory it is"))
        })?;
        let text = |path: &Path| {
            CString::new(path.as_os_str().as_bytes())
                .map_err(|_| Error::new(libc::EINVAL, format!("{name}: there is a NUL in it")))
        };
        let directory = absolute.parent().unwrap_or(Path::new("/"));
        Ok(Place { path: text(&absolute)?, directory: text(directory)?, name })
    }

    pub fn error(&self, errno: Errno, what: impl Display) -> Error {
        Error::new(errno, format!("{}: {what}", self.name))
    }

    /// What was created or removed there stays so, also after a loss of power.
    pub fn sync_directory(&self, table: &'static dyn Calls) -> Result<(), Errno> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let directory = Descriptor::open(table, &self.directory, flags)?;
        loop {
            match directory.sync_directory() {
                Err(libc::EINTR) => continue,
                // The file system has no such call: it does this at once, or promises nothing.
                Err(libc::EINVAL | libc::EOPNOTSUPP) => return Ok(()),
                result => return result,
            }
        }
    }

    /// Removes the name if it still leads to that file; else ESTALE.
    pub fn unlink(&self, table: &'static dyn Calls, identity: Identity) -> Result<(), Errno> {
        let look = Descriptor::open(table, &self.path, libc::O_PATH | libc::O_NOFOLLOW)?;
        let found = identify(&look, &self.name).map_err(|error| error.errno)?;
        if found != identity {
            return Err(libc::ESTALE);
        }
        table.unlink(&self.path)
    }
}
