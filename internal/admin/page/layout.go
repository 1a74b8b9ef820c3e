package page

// layout is the page. Everything that comes from elsewhere goes through html/template's escaping.
const layout = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{{with .Refresh}}<meta http-equiv="refresh" content="{{.}}">
{{end}}<title>{{.Source.Node}} – kube-ipvs-proxy</title>
<style>{{style}}</style>
</head>
<body>
<header>
<h1>{{.Source.Node}}</h1>
<p>kube-ipvs-proxy {{.Source.Version}}, up {{.Up}}. Shown: {{.Now.UTC.Format "2006-01-02 15:04:05"}} UTC.
<a href="{{.Toggle}}">{{if .Refresh}}Stop refreshing (every {{.Refresh}} s){{else}}Refresh every 10 s{{end}}</a></p>
</header>
<main>
{{$now := .Now}}{{with .Error}}<p class="alarm" role="alert">The virtual servers cannot be shown: {{.}}</p>
{{end}}{{if not .History.Complete}}<p class="notice" role="status">Not synced yet: the sources are not complete. Until they are, nothing is removed from the kernel.</p>
{{end}}{{range .History.Failing}}<p class="alarm" role="alert">Fails at the moment: {{.}}</p>
{{end}}<section aria-labelledby="state">
<h2 id="state">State</h2>
<dl>
<div><dt>Health</dt><dd{{if not .Healthy}} class="alarm"{{end}}>{{if .Healthy}}keeps up{{else}}changes wait too long{{end}}</dd></div>
<div><dt>Virtual servers</dt><dd>{{if .Error}}unknown{{else}}{{.Of}}{{end}}</dd></div>
<div><dt>Draining</dt><dd{{if .History.Draining}} class="notice"{{end}}>{{count .History.Draining "real server"}}</dd></div>
<div><dt>To be tried again</dt><dd{{if .History.Waiting}} class="alarm"{{end}}>{{count .History.Waiting "object"}}</dd></div>
<div><dt>Drift repaired</dt><dd{{if .History.Drifted}} class="notice"{{end}}>{{count .History.Drifted "object"}}</dd></div>
<div><dt>Last audit</dt><dd>{{ago .Now .History.LastAudit}}</dd></div>
{{range .Ages}}<div><dt>Last heard: {{.Source}}</dt><dd>{{.Short}} ago</dd></div>
{{end}}</dl>
</section>
<section aria-labelledby="services">
<h2 id="services">Services</h2>
<form method="get" role="search">
<label for="q">Namespace, name or address</label>
<input id="q" name="q" type="search" maxlength="200" value="{{.Words}}">
{{with .Refresh}}<input type="hidden" name="refresh" value="{{.}}">
{{end}}<button>Filter</button>
{{if .Words}}<a href="{{.All}}">Show all</a>
{{end}}</form>
{{if not .Error}}<p>{{if .Words}}{{.Matching}} of {{count .Of "virtual server"}}{{else}}{{count .Of "virtual server"}}{{end}}, page {{.Page}} of {{.Pages}}</p>
{{if not .Groups}}<p>{{if .Words}}Nothing matches the filter.{{else}}No Service is served on this node.{{end}}</p>
{{end}}{{end}}{{range .Groups}}<article>
<h3>{{.Name}}{{with .From}} <small>({{.}})</small>{{end}}</h3>
{{range .Servers}}{{if .Reals}}<table>
<caption>{{template "title" .}}</caption>
<thead><tr><th scope="col">Endpoint</th><th scope="col" class="n">Weight</th><th scope="col" class="n">Active</th><th scope="col" class="n">Inactive</th><th scope="col">State</th></tr></thead>
<tbody>
{{range .Reals}}<tr><th scope="row">{{.Address}}{{if or .Node .Zone}} <small>{{.Node}}{{with .Zone}} in {{.}}{{end}}</small>{{end}}</th><td class="n">{{.Weight}}</td><td class="n">{{.Active}}</td><td class="n">{{.Inactive}}</td><td{{if eq .State "draining"}} class="notice"{{else if ne .State "serving"}} class="alarm"{{end}}>{{.State}}</td></tr>
{{end}}</tbody>
{{with .More}}<tfoot><tr><td colspan="5">and {{.}} more: see kube-ipvs-proxy status</td></tr></tfoot>
{{end}}</table>
{{else}}<p>{{template "title" .}}</p>
{{end}}{{end}}</article>
{{end}}<nav aria-label="Pages">{{with .Previous}}<a rel="prev" href="{{.}}">Previous page</a>{{end}} {{with .Next}}<a rel="next" href="{{.}}">Next page</a>{{end}}</nav>
</section>
<section aria-labelledby="happened">
<h2 id="happened">What happened last</h2>
<table>
<caption>Errors</caption>
{{with .History.Troubles}}<thead><tr><th scope="col">When</th><th scope="col">What</th></tr></thead>
<tbody>
{{range .}}<tr><td class="when">{{ago $now .At}}</td><td class="text alarm">{{.Text}}</td></tr>
{{end}}</tbody>{{else}}<tbody><tr><td>none since the start</td></tr></tbody>{{end}}
</table>
<table>
<caption>Drift found and repaired</caption>
{{with .History.Repairs}}<thead><tr><th scope="col">When</th><th scope="col" class="n">Objects</th><th scope="col">Device, sets and rules</th></tr></thead>
<tbody>
{{range .}}<tr><td class="when">{{ago $now .At}}</td><td class="n">{{.Drifted}}</td><td class="text">{{range $i, $part := .Parts}}{{if $i}}, {{end}}{{$part}}{{else}}–{{end}}</td></tr>
{{end}}</tbody>{{else}}<tbody><tr><td>none since the start</td></tr></tbody>{{end}}
</table>
<table>
<caption>Rounds</caption>
{{with .History.Rounds}}<thead><tr><th scope="col">Began</th><th scope="col" class="n">Took</th><th scope="col" class="n">Services</th><th scope="col" class="n">Changes</th><th scope="col" class="n">Failed</th></tr></thead>
<tbody>
{{range .}}<tr><td class="when">{{ago $now .Started}}</td><td class="n">{{.Took}}</td><td class="n">{{.Services}}</td><td class="n">{{.Operations}}</td><td class="n{{if .Failures}} alarm{{end}}">{{.Failures}}</td></tr>
{{end}}</tbody>{{else}}<tbody><tr><td>none yet</td></tr></tbody>{{end}}
</table>
</section>
</main>
</body>
</html>
{{define "title"}}<b>{{if .Mark}}{{.Family}} mark {{printf "%#x" .Mark}}{{range .For}} {{.Address}}{{end}}{{else}}{{.Protocol}} {{.Address}}{{end}}</b>{{with .Owner.Port}} ({{.}}){{end}},
{{.Scheduler}}{{with .Persistence}}, persistent {{.}} s{{end}}{{if .Bad}}, <strong class="alarm">missing</strong>{{else if .RealServers}}, {{.Connections}} connections so far{{else}}, <span class="notice">no endpoints</span>{{end}}{{end}}`

// style is the page's CSS. It has to be without the signs that html/template changes.
const style = `
:root{color-scheme:light dark;--back:#fff;--text:#1c1f24;--soft:#5b636e;--line:#d5dae0;--card:#f5f7f9;--link:#0b57d0;--alarm:#b3171e;--notice:#7a4b00}
@media (prefers-color-scheme:dark){:root{--back:#14171b;--text:#e6e9ed;--soft:#a0a8b3;--line:#363c45;--card:#1c2026;--link:#8ab4f8;--alarm:#ff8b85;--notice:#f2bd5c}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1rem;background:var(--back);color:var(--text);font:16px/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:0}
h2{font-size:1.2rem;margin:1.75rem 0 .6rem}
h3{font-size:1rem;margin:0 0 .4rem}
p{margin:.4rem 0}
header p,dt,small{color:var(--soft)}
small{font-weight:normal}
a{color:var(--link)}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.5rem;margin:0}
dl div,article{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem .75rem}
dt{font-size:.85rem}
dd{margin:0;font-weight:600}
article{margin:.75rem 0}
form{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center}
label{flex-basis:100%}
input[type=search]{flex:1 1 10rem;min-width:0;max-width:26rem}
input,button{font:inherit;padding:.45rem .6rem;border:1px solid var(--line);border-radius:.4rem;background:var(--card);color:var(--text)}
table{width:100%;border-collapse:collapse;margin:.3rem 0 .9rem;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.3rem 0}
th,td{text-align:left;vertical-align:top;padding:.3rem .35rem;border-top:1px solid var(--line)}
thead th{color:var(--soft);font-weight:normal;overflow-wrap:normal}
tbody th{font-weight:normal}
th small{display:block}
.n{text-align:right}
td{overflow-wrap:normal}
td.n,.when{white-space:nowrap}
.text{overflow-wrap:anywhere}
article table{margin-bottom:.3rem}
@media (min-width:40rem){article thead th:first-child{width:55%}}
.alarm{color:var(--alarm);font-weight:600}
.notice{color:var(--notice);font-weight:600}
nav{display:flex;gap:1rem;min-height:1.5rem}
@media (max-width:30rem){body{padding:.75rem}table{font-size:.8rem}th,td{padding:.3rem .2rem}}
`
