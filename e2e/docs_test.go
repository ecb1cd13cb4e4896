package e2e

import (
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// The page of the API, as make docs renders it, needs nothing from elsewhere,
// and shows the operations with what the overlay adds to them.
func TestDocs(t *testing.T) {
	page, err := filepath.Abs("../artifacts/api.html")
	require.NoError(t, err)
	require.FileExists(t, page, "make docs renders it, and make e2e before the tests")
	tab := newTab(t)
	require.NoError(t, chromedp.Do(tab, chromedp.EmulateViewport(1280, 900), chromedp.Navigate("file://"+page)))
	shows := func(texts ...string) {
		for _, text := range texts {
			_, err := chromedp.Run(tab, chromedp.PollFunction[bool](`text => document.body.innerText.includes(text)`, chromedp.WithPollingArgs(text)))
			require.NoError(t, err, text)
		}
	}
	shows("/authorize", "/oauth/token", "/userinfo", "/v2/logout")
	require.NoError(t, chromedp.Do(tab, chromedp.Click(chromedp.Search(`//button[contains(., 'Show')]`))))
	shows("code_challenge", "nonce")
	picture, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	require.NoError(t, err)
	keep(t, "docs", picture)
}
