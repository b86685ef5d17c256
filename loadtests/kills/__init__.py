"""Jobs under SIGKILL: of workers, of the server, of producers' connections and of replies; nothing acknowledged may be lost."""
