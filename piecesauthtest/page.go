package piecesauthtest

import (
	"bytes"
	"html/template"
	"net/http"
)

func page(title, body string) *template.Template {
	return template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>` + title + `</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:15vh auto;padding:0 1rem}button{font:inherit;padding:.4rem 1rem}</style>
</head>
` + body + `
</html>
`))
}

var (
	loginPage = page("Sign in", `<body>
<h1>Sign in</h1>
<p>This is a server for tests.{{if eq (len .People) 1}} Sign in as {{(index .People 0).Label}}?{{end}}</p>
<form id="login" method="post" action="{{.Action}}">
{{if gt (len .People) 1}}<fieldset>
<legend>Who are you?</legend>
{{range $i, $_ := .People}}<p><label><input type="radio" name="person" value="{{.Sub}}"{{if eq $i 0}} checked{{end}}> {{.Label}}</label></p>
{{end}}</fieldset>
{{end}}<button id="signin" name="action" value="signin" autofocus>Sign in</button>
<button id="deny" name="action" value="deny">Cancel</button>
</form>
</body>`)

	formPostPage = page("Signing in", `<body onload="document.forms[0].submit()">
<form id="form_post" method="post" action="{{.Action}}">
{{range $name, $values := .Values}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">
{{end}}{{end}}<noscript><button>Continue</button></noscript>
</form>
</body>`)

	webMessagePage = page("Signing in", `<body>
<script id="web_message" type="application/json">{{.Response}}</script>
<script>
(window.opener || window.parent).postMessage({
  type: "authorization_response",
  response: JSON.parse(document.getElementById("web_message").textContent)
}, {{.Origin}});
</script>
</body>`)

	logoutPage = page("Signed out", `<body>
<h1>Signed out</h1>
</body>`)

	problemPage = page("Error", `<body>
<h1>Error</h1>
<p id="problem">{{.}}</p>
</body>`)
)

func render(w http.ResponseWriter, status int, page *template.Template, data any) {
	var body bytes.Buffer
	if err := page.Execute(&body, data); err != nil {
		http.Error(w, "piecesauthtest: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}

// errorPage is shown for errors that must not be redirected.
func errorPage(w http.ResponseWriter, problem string) {
	render(w, http.StatusBadRequest, problemPage, problem)
}
