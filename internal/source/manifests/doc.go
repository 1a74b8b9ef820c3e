// Package manifests delivers the Services, EndpointSlices, Endpoints and the node's own Node that are written in a
// directory of YAML and JSON files, for nodes without an API server.
//
// The files say what an API server would otherwise have checked and completed. So fields are decoded strictly and what
// is wrong is reported with file, line and field; the API's defaults apply; legacy Endpoints become slices as the
// mirroring controller would make them; endpoints without topology hints get those that their Service's
// spec.trafficDistribution asks for; and a Service may lack what only an API server can allocate (ClusterIP, node
// ports), which is said. Among objects of the same name the one in the first file, by name, counts. A file that cannot
// be read as a whole keeps its last good version in force, and a directory that disappears keeps all of it: what is
// served ends only when a file is deleted or no longer holds it.
//
// Files that are replaced by a rename, and ConfigMap volumes, are never seen half-written. A file that is written in
// place may be; a short delay after the last change makes that unlikely.
//
// Out of scope: subdirectories, selecting Pods, and what objects mean (package service).
package manifests
