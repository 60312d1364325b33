// The theme chosen on this machine, before anything is drawn. Without a choice the system's is taken.
try {
    const theme = localStorage.getItem('hookline-theme');
    if (theme) document.documentElement.dataset.theme = theme;
} catch { /* no storage: the system's */ }
