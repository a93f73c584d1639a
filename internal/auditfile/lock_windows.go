package auditfile

import "os"

// lock does nothing: there it takes another kind of lock, which keeps readers out.
func lock(*os.File) error { return nil }
