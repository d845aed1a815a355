package node

import (
	"runtime/debug"
	"strings"
)

// Version is the version of this build. Releases set it with the linker; "go install" of a
// tag takes it from the module.
var Version string

func init() {
	if Version == "" {
		Version = moduleVersion(debug.ReadBuildInfo())
	}
}

// moduleVersion returns the version that Go stamped, without its v.
func moduleVersion(info *debug.BuildInfo, ok bool) string {
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "0.0.0-dev"
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}
